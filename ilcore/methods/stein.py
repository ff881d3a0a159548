"""Methods that minimise an estimate of their own risk.

SURE:
    repeat: e = f(y) - y; probe b with the noise's own law
            descend on mean e^2 - mean v + 2 mean b (f(y + h b) - f(y)) / h     (Stein 1981; Ramani et al. 2008)
    return f(y)

UNSURE: the same with a multiplier eta in the place of v, climbing until the mean derivative is zero.

DIP-SURE: the hourglass, shown the noisy image itself. Not the paper's: it keeps the weights of the lowest estimate,
which was descended on and met a lucky probe; here pixels that are never asked for choose them.

eSURE: the same with a little fresh noise on the input; ended when the estimate falls below zero; average of outputs.
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.sure import Sure, UnknownNoiseSure
from ilcore.methods.entry import Entry
from ilcore.networks.plain import Plain
from ilcore.networks.skip import SkipNet
from ilcore.readouts.last import Best
from ilcore.readouts.means import MovingAverage
from ilcore.stops.held_out import HeldOut
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.stops.zero_crossing import ZeroCrossing
from ilcore.views.whole import Whole

_small_denoiser = Plain(width=48, depth=8, residual=True, pointwise_end=False, slope=0.0, bias=False)

#: Soltanayev & Chun, "Training deep learning based denoisers without ground truth data", NeurIPS 2018; a small net.
sure = Recipe(
    views=Whole(),
    network=_small_denoiser,
    loss=Sure(),
    descent=Adam(1e-3, halve_every=600),
    stop=HeldOut(steps=1500, every=25, patience=8),
    readout=Best(),
)

#: The same for dark counts: both second-order terms are kept.
pure = Recipe(
    views=Whole(),
    network=_small_denoiser,
    loss=Sure(second_order=True),
    descent=Adam(1e-3, halve_every=600),
    stop=HeldOut(steps=1500, every=25, patience=8),
    readout=Best(),
)

#: Tachella, Davies & Jacques, "UNSURE", ICLR 2025.
unsure = Recipe(
    views=Whole(),
    network=_small_denoiser,
    loss=UnknownNoiseSure(),
    descent=Adam(1e-3, halve_every=600),
    stop=HeldOutPixels(steps=1500, hides_input=True, every=25, patience=200, memory=0.0),
    readout=Best(),
)

#: Metzler et al., "Unsupervised learning with Stein's unbiased risk estimator", 2018: single image version; five
#: scales and skips of one width in the place of eight scales and skips that get narrower.
dip_sure = Recipe(
    views=Whole(),
    network=SkipNet(width=128, skip=4, scales=5),
    loss=Sure(),
    descent=Adam(1e-3),
    stop=HeldOut(steps=200, every=10, patience=10),
    readout=Best(),
)

#: Jo, Chun & Choi, "Rethinking deep image prior for denoising", ICCV 2021: its rates and jitter for grey
#: images, on the network of the prior in the place of one with Softplus.
esure = Recipe(
    views=Whole(jitter=0.3),
    network=SkipNet(width=128, skip=4, scales=5),
    loss=Sure(),
    descent=Adam(0.1, halve_every=300, factor=0.9, rectified=True),
    stop=ZeroCrossing(steps=3000),
    readout=MovingAverage(0.99),
)

_ANY_KNOWN = frozenset({"white", "row", "column", "isotropic"})

ENTRIES = (
    Entry(
        name="sure",
        method=sure,
        summary="Small network that minimises an unbiased estimate of its own risk; correlation allowed.",
        question="Which network has the least risk on this scan, by Stein's estimate?",
        when="The noise law is known; also where neighbours share noise of measured correlation.",
        reference="Stein, Ann. Stat. 1981; Soltanayev & Chun, NeurIPS 2018; Metzler et al., 2018",
        cost=0,
        kilobytes=(7, 1),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"noise"}),
    ),
    Entry(
        name="pure",
        method=pure,
        summary="As sure, with the second-order terms that dark counts need.",
        question="Which network has the least risk on these counts?",
        when="Photon counting below some twenty counts. Twice the cost of sure; brighter scans gain nothing.",
        reference="Le Montagner et al., TIP 2014; Luisier et al., TIP 2010",
        cost=0,
        kilobytes=(12, 1),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"noise"}),
    ),
    Entry(
        name="unsure",
        method=unsure,
        summary="As sure, but the noise level is found on the way by a Lagrange multiplier.",
        question="Which network is nearest to the scan without leaning on any pixel's own noise?",
        when="White noise whose level nobody knows.",
        reference="Tachella, Davies & Jacques, UNSURE, ICLR 2025",
        cost=0,
        kilobytes=(7, 1),
    ),
    Entry(
        name="dip_sure",
        method=dip_sure,
        summary="The hourglass of Deep Image Prior shown the scan itself, trained on its estimated risk.",
        question="Which hourglass has the least risk on this tile?",
        when="Known white noise and a single tile; slower than sure.",
        reference="Metzler et al., Unsupervised learning with Stein's unbiased risk estimator, 2018",
        cost=2,
        kilobytes=(30, 2),
        needs=frozenset({"noise"}),
    ),
    Entry(
        name="esure",
        method=esure,
        summary="The hourglass on a slightly noisier scan, ended when its estimated risk falls below zero.",
        question="Which hourglass has the least risk on slightly noisier copies of this tile?",
        when="Known noise, Gaussian or counts, and a single tile with time to spare.",
        reference="Jo, Chun & Choi, Rethinking deep image prior for denoising, ICCV 2021",
        cost=2,
        kilobytes=(27, 2),
        copes_with=_ANY_KNOWN,
        needs=frozenset({"noise"}),
    ),
)
