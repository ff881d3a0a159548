"""Two noisy looks at the same scene teach each other, and one scan has both.

Neighbor2Neighbor:
    repeat: g1, g2 = two adjacent pixels of every 2x2 cell, which two is drawn anew
            descend on (f(g1 y) - g2 y)^2 + gamma (f(g1 y) - g2 y - (g1 f(y) - g2 f(y)))^2      (eq. 12)
            every few steps: predict pixels that are never asked for; keep the weights that do it best
    return f(y)

R2R:
    repeat: w = fresh noise of the scan's own law, y1 = y + a w, y2 = y - w / a                 (eq. 8)
            descend on (f(y1) - y2)^2
            every few steps: estimate the risk on pixels never asked for; keep the best weights
    return the mean of f over 50 draws of y1                                                    (eq. 11)

GR2R: the same, split by the law of the noise: counts are thinned, exactly at any light level   (table 1)

Frame pairs:
    repeat: predict some planes of a stack from their neighbours, less where they show different things
    return the mean of a look from above and one from below

Not taken over: training on a data base of scans; every fit sees the tiles of its own scan.
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.losses.neighbours import NeighbourDifference
from ilcore.methods.entry import Entry
from ilcore.networks.by_plane import ByPlane
from ilcore.networks.plain import Plain
from ilcore.networks.unet import UNet
from ilcore.readouts.last import Best, Last
from ilcore.stops.budget import After
from ilcore.stops.held_out import HeldOut
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.views.adjacent_planes import AdjacentPlanes
from ilcore.views.averaged import AveragedDraws
from ilcore.views.count_split import CountSplit
from ilcore.views.neighbour_halves import NeighbourHalves
from ilcore.views.recorruption import Recorruption

#: Huang et al., "Neighbor2Neighbor", CVPR 2021. The paper has thousands of images and no rule; a single one is learnt
#: by heart, its noise included, and one of seven ended below its input: withheld pixels end the fit.
neighbor2neighbor = Recipe(
    views=NeighbourHalves(),
    network=UNet(width=48, depth=3),
    loss=SquaredError() + NeighbourDifference(gamma=2.0, ramp=1500),
    descent=Adam(3e-4, halve_every=500),
    stop=HeldOutPixels(steps=1500, hides_input=True, every=25, patience=300, memory=0.0),
    readout=Best(),
)

# Tried: the 17 layers of the papers, which owe their start to batch norm. Without it nothing was learnt in 200 steps.
_noise_predictor = Plain(width=48, depth=8, residual=True, pointwise_end=False, slope=0.0, bias=False)

#: Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021.
r2r = Recipe(
    views=AveragedDraws(Recorruption(amount=0.5), draws=50),
    network=_noise_predictor,
    loss=SquaredError(),
    descent=Adam(1e-3, halve_every=400),
    stop=HeldOut(steps=1500, every=25, patience=12),
    readout=Best(),
)

#: Monroy, Bacca & Tachella, "Generalized Recorrupted-to-Recorrupted", CVPR 2025.
gr2r = Recipe(
    views=AveragedDraws(CountSplit(share=0.15), draws=5),
    network=_noise_predictor,
    loss=SquaredError(),
    descent=Adam(1e-3, halve_every=400),
    stop=HeldOut(steps=1500, every=25, patience=12),
    readout=Best(),
)

#: Lehtinen et al., "Noise2Noise", ICML 2018, on neighbouring planes.
frame_pairs = Recipe(
    views=AdjacentPlanes(neighbours=0, planes=4),
    network=ByPlane(inner=UNet(width=32, depth=2), residual=True, reach=1),
    loss=SquaredError(),
    descent=Adam(1e-3, halve_every=500),
    stop=After(1500),
    readout=Last(),
)

_ANY_KNOWN = frozenset({"white", "row", "column", "isotropic"})

ENTRIES = (
    Entry(
        name="neighbor2neighbor",
        method=neighbor2neighbor,
        summary="U-Net that predicts pixels from their direct neighbours; white noise, no knowledge needed.",
        question="What does one pixel of every 2x2 cell say of the one beside it?",
        when="White noise of unknown law, detail wider than two pixels, many tiles of one acquisition.",
        reference="Huang et al., Neighbor2Neighbor, CVPR 2021",
        cost=1,
        kilobytes=(4, 2),
        version=2,
    ),
    Entry(
        name="r2r",
        method=r2r,
        summary="Network trained between two noisier copies with uncorrelated noises; correlation allowed.",
        question="What does the scan look like where fresh noise of its own law is added to it?",
        when="The noise law is known, Gaussian or nearly so; keeps all detail, as every pixel is seen.",
        reference="Pang, Zheng, Quan & Ji, Recorrupted-to-Recorrupted, CVPR 2021",
        cost=1,
        kilobytes=(4, 1),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"noise"}),
        version=2,
    ),
    Entry(
        name="gr2r",
        method=gr2r,
        summary="As r2r, split by the law of the noise: photon counts are thinned, exactly at any light level.",
        question="What would the counts be that were taken away?",
        when="Raw photon counts, above all dark ones; never after resampling.",
        reference="Monroy, Bacca & Tachella, Generalized R2R, CVPR 2025",
        cost=1,
        kilobytes=(4, 1),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"noise"}),
        version=2,
    ),
    Entry(
        name="frame_pairs",
        method=frame_pairs,
        summary="Planes of a stack predict their neighbours; noise may be correlated in a plane, not across planes.",
        question="What will the next plane look like?",
        when="Stacks and movies whose planes resemble each other. Not where every plane shows something new.",
        reference="Lehtinen et al., Noise2Noise, ICML 2018; Lecoq et al., DeepInterpolation, Nature Methods 2021",
        cost=1,
        kilobytes=(4, 1),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"stack"}),
    ),
)
