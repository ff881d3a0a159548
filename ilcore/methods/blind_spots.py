"""Networks that predict pixels they do not see.

Noise2Void:
    repeat: hide one random pixel of every box behind another of its surroundings, y'
            descend on (f(y') - y)^2 over the hidden pixels                            (section 3.2)
            every few steps: predict pixels that are never asked for; keep the weights that do it best
    return f(y)

N2V2: the median of the surroundings in the place of a random pixel, no skip at the finest scale, blurred pooling.

StructN2V: all pixels that share noise with the one asked for are hidden with it, as far as the measured correlation
    reaches.

Noise2Self: a grid of pixels hidden behind the mean of their neighbours; every pixel of the image is taken from a pass
    in which it was hidden                                                             (eq. 3)

Noise2Same: nothing has to be hidden from the result:
    descend on mean (f(y) - y)^2 + 2 s sqrt(mean over hidden (f(y) - f(y'))^2)         (eq. 6)

Laine: four half-planes instead of hidden pixels; (mu, v) = f(y), blind for the pixel itself
    repeat: descend on mean (y - mu)^2 / (v + v_n) + log (v + v_n), v_n the variance of the noise   (section 3)
    return (y v + mu v_n) / (v + v_n)                                              (section 3)

Self2Self: a network with dropout, b a coin for every value:
    repeat: descend on |(1 - b)(f(b y) - y)|^2                                     (section 3.1)
    return the mean of f(b y) over many b and dropouts                             (section 3.3)

All of them are fitted without a residual connection: it lets the network repeat what it sees. Not taken over from the
published programs: patches and their flips, as every step sees the whole tile; batch norm, as a batch is one tile and
tiles must not know of each other; kernels of 5 in Noise2Void's planes, of which two of 3 in a row see as much.
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.losses.invariance import InvarianceBound
from ilcore.losses.likelihood import GaussianLikelihood
from ilcore.methods.entry import Entry
from ilcore.networks.blind_spot import BlindSpot
from ilcore.networks.masked_unet import MaskedUNet
from ilcore.networks.unet import UNet
from ilcore.readouts.last import Best, Last
from ilcore.stops.budget import After
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.views.dropped_pixels import DroppedPixels
from ilcore.views.hidden_grid import HiddenGrid
from ilcore.views.hidden_pixels import HiddenPixels
from ilcore.views.j_invariant_image import JInvariantImage
from ilcore.views.posterior import Posterior

_withheld = HeldOutPixels(steps=2000, hides_input=True, every=25, patience=500, memory=0.0)

#: Krull, Buchholz & Jug, "Noise2Void", CVPR 2019; percent, window and rate of the released program.
n2v = Recipe(
    views=HiddenPixels(percent=1.5, window=11, replacement="uniform"),
    network=UNet(width=32, depth=2),
    loss=SquaredError(),
    descent=Adam(4e-4, halve_every=1000),
    stop=_withheld,
    readout=Best(),
)

#: Hoeck et al., "N2V2", ECCV-W 2022.
n2v2 = Recipe(
    views=HiddenPixels(percent=1.5, window=11, replacement="median"),
    network=UNet(width=32, depth=2, top_skip=False, blur_pool=True),
    loss=SquaredError(),
    descent=Adam(4e-4, halve_every=1000),
    stop=_withheld,
    readout=Best(),
)

#: Broaddus et al., "Removing structured noise with self-supervised blind-spot networks", ISBI 2020. A withheld pixel
#: is predicted best by its own noise where neighbours share it: the budget ends the fit.
struct_n2v = Recipe(
    views=HiddenPixels(percent=1.0, window=11, footprint="measured"),
    network=UNet(width=32, depth=2),
    loss=SquaredError(),
    descent=Adam(4e-4, halve_every=500),
    stop=After(1000),
    readout=Last(),
)

#: Batson & Royer, "Noise2Self", ICML 2019.
noise2self = Recipe(
    views=JInvariantImage(HiddenGrid(stride=4)),
    network=UNet(width=32, depth=2),
    loss=SquaredError(),
    descent=Adam(1e-3, halve_every=500),
    stop=_withheld,
    readout=Best(),
)

#: Xie, Wang & Ji, "Noise2Same", NeurIPS 2020.
noise2same = Recipe(
    views=HiddenPixels(percent=1.5, window=5, replacement="uniform"),
    network=UNet(width=32, depth=2),
    loss=InvarianceBound(weight=2.0),
    descent=Adam(4e-4, halve_every=1000),
    stop=_withheld,
    readout=Best(),
)

#: Laine et al., NeurIPS 2019. There a million crops at a rate of 3e-4; here the tiles at hand.
laine = Recipe(
    views=Posterior(),
    network=BlindSpot(width=48, depth=5),
    loss=GaussianLikelihood(),
    descent=Adam(1e-3, halve_every=500),
    stop=After(1500),
    readout=Last(),
)

#: Quan, Chen, Pang & Ji, "Self2Self with dropout", CVPR 2020.
self2self = Recipe(
    views=DroppedPixels(keep=0.7, passes=100, flips=True),
    network=MaskedUNet(width=48, depth=5, dropout=0.3),
    loss=SquaredError(),
    descent=Adam(1e-4),
    stop=After(150_000),
    readout=Last(),
)

ENTRIES = (
    Entry(
        name="n2v",
        method=n2v,
        summary="U-Net that predicts hidden pixels from their surroundings; white noise, no knowledge needed.",
        question="What is the value of a pixel, going by the pixels around it?",
        when="White noise of unknown law, many tiles of one acquisition. One tile: noise2fast learns faster.",
        reference="Krull, Buchholz & Jug, Noise2Void, CVPR 2019",
        cost=1,
        kilobytes=(5, 3),
    ),
    Entry(
        name="n2v2",
        method=n2v2,
        summary="Noise2Void without its checkerboards: median behind hidden pixels, blurred pooling.",
        question="What is the value of a pixel, going by the pixels around it?",
        when="Wherever n2v would do.",
        reference="Hoeck, Buchholz, Brachmann, Jug & Freytag, N2V2, ECCV-W 2022",
        cost=1,
        kilobytes=(5, 2),
    ),
    Entry(
        name="struct_n2v",
        method=struct_n2v,
        summary="Noise2Void that hides all pixels which share noise with the one it asks for.",
        question="What is the value of a pixel, going by the pixels whose noise is independent of its own?",
        when="Stripes of a few pixels whose correlation was measured. Round grains: only where all detail is larger.",
        reference="Broaddus, Krull, Weigert, Schmidt & Myers, ISBI 2020",
        cost=1,
        kilobytes=(5, 3),
        copes_with=frozenset({"white", "row", "column"}),
        needs=frozenset({"noise"}),
    ),
    Entry(
        name="noise2self",
        method=noise2self,
        summary="Predicts a grid of hidden pixels; the image is made of such predictions alone.",
        question="What is the value of a pixel, going by all pixels but itself?",
        when="White noise of unknown law, and an image that owes nothing to the noise of its own pixels.",
        reference="Batson & Royer, Noise2Self, ICML 2019",
        cost=1,
        kilobytes=(5, 3),
    ),
    Entry(
        name="noise2same",
        method=noise2same,
        summary="May use the pixel it restores, at a price that bounds the risk.",
        question="Which image is near the observation without leaning on any pixel's own noise?",
        when="White noise; weaker noise than n2v needs, as the pixel itself has a say.",
        reference="Xie, Wang & Ji, Noise2Same, NeurIPS 2020",
        cost=1,
        kilobytes=(8, 3),
    ),
    Entry(
        name="laine",
        method=laine,
        summary="Blind-spot network of half-planes that weighs its prediction against the pixel itself.",
        question="What are mean and spread of a pixel, going by all pixels but itself?",
        when="White noise of known law and many tiles of one acquisition; keeps more detail than n2v.",
        reference="Laine, Karras, Lehtinen & Aila, High-quality self-supervised deep image denoising, NeurIPS 2019",
        cost=2,
        kilobytes=(27, 8),
        needs=frozenset({"noise"}),
    ),
    Entry(
        name="self2self",
        method=self2self,
        summary="Dropped pixels predicted by a network with dropout; mean of many passes. Hours for one tile.",
        question="What are the values that a coin took away, going by those it left?",
        when="White noise of unknown law, a single image that is worth hours; also with missing values.",
        reference="Quan, Chen, Pang & Ji, Self2Self with dropout, CVPR 2020",
        cost=3,
        kilobytes=(6, 4),
        tasks=frozenset({"denoise", "inpaint"}),
        scopes=frozenset({"tile"}),
    ),
)
