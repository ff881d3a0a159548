"""Denoisers learnt from one noisy image.

ZS-N2N:
    D1, D2 = the two diagonal means of every 2x2 cell          (section 3.1)
    g(y) = y - f(y), f a net of three small convolutions
    repeat: descend on 1/2 (|g(D1) - D2|^2 + |g(D2) - D1|^2)   (eq. 4)
                     + 1/2 (|g(D1) - D1(g(y))|^2 + |g(D2) - D2(g(y))|^2)   (eq. 5)
    return g(y)

ZS-HPD, of which the gradient-sorted halves, the network and the schedule are here. Left out: the global sampler of
alike patches and the spectrum-weighted loss; which pixels its sorting joins is our reading, the code is not public:
    H1, H2 = means of the outer and of the middle two pixels of every 2x2 cell, sorted along the smoothed gradient
    the loss of ZS-N2N on H1 and H2

Noise2Fast:
    four half images: one colour of a chequerboard, squeezed along x or y
    repeat: descend on the cross-entropy of f(one colour) and the other, by turns
            every round of four: keep the image f(y); end when |f(y) - y| has reached no new minimum for 100 rounds
    return the mean of the last 105 images
Left out: the second start at a lower rate where an image comes out flat; values are neither rescaled nor rounded.

Pixel2Pixel:
    bank of every pixel = the 20 of its window whose surroundings are most alike
    repeat: draw an image and another from the banks, pixel by pixel; descend on (f(one) - another)^2
    return f(y)
Surroundings are compared without the pixel itself; the paper's own keeps it, and with it a little of its noise.
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.consistency import HalvesConsistency
from ilcore.losses.cross_entropy import CrossEntropy
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.entry import Entry
from ilcore.networks.bounded import Bounded
from ilcore.networks.plain import Plain
from ilcore.readouts.last import Best, Last
from ilcore.readouts.rounds import MeanOfLast
from ilcore.stops.budget import After
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.stops.observation import NearestObservation
from ilcore.views.checkerboards import Checkerboards
from ilcore.views.diagonal_halves import DiagonalHalves
from ilcore.views.pixel_bank import PixelBank
from ilcore.views.sorted_halves import SortedHalves

#: Mansour & Heckel, "Zero-Shot Noise2Noise: efficient image denoising without any data", CVPR 2023.
zs_n2n = Recipe(
    views=DiagonalHalves(),
    network=Plain(width=48, depth=3, residual=True, pointwise_end=True, slope=0.2),
    loss=SquaredError() + HalvesConsistency(),
    descent=Adam(1e-3, halve_every=1500),
    stop=After(2000),
    readout=Last(),
)

#: ZS-HPD, CVPR 2026: halves, network and schedule of grey images with synthetic noise. Without the sampler the eight
#: layers learn the noise of the two halves: the error left of 64 pixels square was 17 % after 120 steps and 74 % after
#: 250. Withheld pixels end the fit.
zs_hpd = Recipe(
    views=SortedHalves(),
    network=Plain(width=48, depth=8, residual=True, pointwise_end=True, slope=0.2),
    loss=SquaredError() + HalvesConsistency(),
    descent=Adam(1e-3, halve_every=500),
    stop=HeldOutPixels(steps=1500, hides_input=True, every=10, patience=200, memory=0.0),
    readout=Best(),
)

#: Lequyer et al., "A fast blind zero-shot denoiser", Nature Machine Intelligence 2022.
noise2fast = Recipe(
    views=Checkerboards(),
    network=Bounded(Plain(width=64, depth=9, residual=False, pointwise_end=True, slope=0.0)),
    loss=CrossEntropy(),
    descent=Adam(1e-3),
    stop=NearestObservation(steps=6000, every=4, patience=100),
    readout=MeanOfLast(count=105, every=4),
)

#: Ma et al., "Pixel2Pixel", TPAMI 2025; Adam in the place of AdamW, its rate halved every 1000 steps rather than at
#: 1500, 2000 and 2500, and all of the 20 pixels kept that are most alike.
pixel2pixel = Recipe(
    views=PixelBank(size=20, patch=7, window=41),
    network=Plain(width=64, depth=5, residual=True, pointwise_end=False, slope=0.2),
    loss=SquaredError(),
    descent=Adam(1e-3, halve_every=1000),
    stop=After(3000),
    readout=Last(),
)

ENTRIES = (
    Entry(
        name="zs_n2n",
        method=zs_n2n,
        summary="Small network learnt from the two diagonal halves of the image; white noise, no knowledge needed.",
        question="What does one diagonal of every 2x2 cell say of the other?",
        when="Few tiles, white noise, no time. Leaves low-frequency noise where the noise is strong.",
        reference="Mansour & Heckel, Zero-Shot Noise2Noise, CVPR 2023",
        cost=1,
        kilobytes=(2, 1),
        version=2,
    ),
    Entry(
        name="zs_hpd",
        method=zs_hpd,
        summary="As zs_n2n with halves that follow the gradient and a deeper network; white noise.",
        question="What do two pixels of every 2x2 cell say of the other two?",
        when="As zs_n2n, for stronger noise: the deeper network smooths flat areas better.",
        reference="ZS-HPD, CVPR 2026; Mansour & Heckel, Zero-Shot Noise2Noise, CVPR 2023",
        cost=1,
        kilobytes=(5, 1),
    ),
    Entry(
        name="noise2fast",
        method=noise2fast,
        summary="Network learnt from one colour of a chequerboard to the other; ends by itself.",
        question="What does one colour of a chequerboard over the image say of the other?",
        when="White noise of unknown law, single tiles. Blurs single-pixel detail, as the pixel itself is not used.",
        reference="Lequyer, Philip, Sharma, Hsu & Pelletier, Nature Machine Intelligence 2022",
        cost=1,
        kilobytes=(3, 1),
    ),
    Entry(
        name="pixel2pixel",
        method=pixel2pixel,
        summary="Learnt between images that are put together from alike pixels of the scan itself.",
        question="What would this pixel be, had it been drawn from another place that looks the same?",
        when="White noise and repeated structure. Keeps fine regular detail that half-size images lose.",
        reference="Ma et al., Pixel2Pixel, TPAMI 2025",
        cost=2,
        kilobytes=(3, 1),
    ),
)
