"""The network is the prior.

Deep image prior:
    z = fixed random code
    repeat: x = f(z + jitter); descend on |A x - y|^2 over trusted values   (eq. 2)
            average <- 0.99 average + 0.01 x                                (section 3.1)
    return the average

DIP-TV: the same with mean |gradient of x| added to what is descended on             (Liu et al. 2019)

Deep decoder: the same with a network without convolutions in space, and no jitter   (Heckel & Hand 2019)

DIP-SGLD: the same; after each step the weights wander,
    w <- Adam step + N(0, (2 rate)^2); return the mean of late outputs               (Cheng et al. 2019)

DeepRED: the same with mu mean (x - v + u)^2 added, where D is a denoiser and after each step
    v <- (beta D(v) + mu (x + u)) / (beta + mu); u <- u + x - v                      (Mataev et al. 2019)

Double over-parameterisation: the same with |x + g g - h h - y|^2, plain steps on g and h, which stay sparse
    by themselves                                                                    (You et al. 2020)

A mask in the problem turns the same recipes into inpainting (section 3.3): what is not trusted is not asked for.
"""

from dataclasses import replace

from ilcore.descents.adam import Adam
from ilcore.descents.backtracking import Backtracking
from ilcore.descents.discrepant import DiscrepantRates
from ilcore.descents.langevin import Langevin
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.losses.red import Red
from ilcore.losses.regularised import Regularised
from ilcore.losses.robust import OutlierError
from ilcore.losses.smoothness import TotalVariation
from ilcore.methods.entry import Entry
from ilcore.networks.deep_decoder import DeepDecoder
from ilcore.networks.skip import SkipNet
from ilcore.networks.with_outliers import WithOutliers
from ilcore.readouts.means import MovingAverage
from ilcore.readouts.samples import MeanAfter
from ilcore.stops.budget import After
from ilcore.views.noise_code import NoiseCode

#: Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018 / IJCV 2020, denoising at 8-bit noise 25.
dip = Recipe(
    views=NoiseCode(channels=32, amplitude=0.1, jitter=1 / 30),
    network=SkipNet(width=128, skip=4, scales=5),
    loss=SquaredError(),
    descent=Backtracking(Adam(1e-2), drop_db=5.0),
    stop=After(3000),
    readout=MovingAverage(0.99),
)

#: Liu, Sun, Xu & Kamilov, ICASSP 2019. The paper chooses the weight by the truth; this one suits noise of a tenth of
#: the range.
dip_tv = replace(dip, loss=Regularised(SquaredError(), TotalVariation(), weight=0.02))

#: Heckel & Hand, "Deep Decoder", ICLR 2019. The paper keeps the weights of the least loss; here outputs are averaged.
deep_decoder = Recipe(
    views=NoiseCode(channels=128, amplitude=0.1, jitter=0.0, halvings=5),
    network=DeepDecoder(width=128, scales=5),
    loss=SquaredError(),
    descent=Adam(1e-2),
    stop=After(1900),
    readout=MovingAverage(0.99),
)

#: Cheng, Gadelha, Maji & Sheldon, "A Bayesian perspective on the deep image prior", CVPR 2019.
dip_sgld = replace(
    dip,
    descent=Langevin(1e-2, noise=2.0, weight_decay=5e-8),
    stop=After(20_000),
    readout=MeanAfter(burn_in=7000, every=50),
)

#: Mataev, Elad & Milanfar, "DeepRED", ICCV-W 2019. Not taken over: weights that grow as the fit closes in.
deep_red = replace(
    dip,
    loss=Red(strength=0.5, coupling=0.5, sigma=3 / 255, patch=5, search=6, every=10),
    descent=Backtracking(Adam(8e-3), drop_db=5.0),
    stop=After(6000),
)

#: You, Zhu, Qu & Ma, NeurIPS 2020, here with Adam for the network and plain steps for the outliers.
double_over = replace(
    dip,
    network=WithOutliers(dip.network, start=1e-3),
    loss=OutlierError(),
    descent=DiscrepantRates(Adam(1e-2), rate=3e-2),
)

ENTRIES = (
    Entry(
        name="dip",
        method=dip,
        summary="Hourglass fitted to the image from a random code; denoises, and fills missing values. Slow.",
        question="Which image that a convolutional network makes easily is nearest to the observation?",
        when="Missing values, or noise that fits no other method. Slow, and a fixed budget overfits strong noise.",
        reference="Ulyanov, Vedaldi & Lempitsky, Deep image prior, CVPR 2018",
        cost=3,
        kilobytes=(27, 2),
        copes_with=frozenset({"white", "row", "column", "isotropic", "unknown"}),
        tasks=frozenset({"denoise", "inpaint"}),
        tile_steps=500,
    ),
    Entry(
        name="dip_tv",
        method=dip_tv,
        summary="Deep Image Prior with few and short edges; overfits later, may flatten smooth shading.",
        question="Which image of short edges that a network makes easily is nearest to the observation?",
        when="Wherever dip would do and edges matter more than faint shading. Slow.",
        reference="Liu, Sun, Xu & Kamilov, Image restoration using TV regularized deep image prior, ICASSP 2019",
        cost=3,
        kilobytes=(27, 2),
        tasks=frozenset({"denoise", "inpaint"}),
        tile_steps=500,
    ),
    Entry(
        name="deep_decoder",
        method=deep_decoder,
        summary="A network too small to hold the noise, fitted to the image; fast for its kind, loses fine texture.",
        question="Which image of few coefficients is nearest to the observation?",
        when="Strong noise on tiles of 256 pixels and more; smaller tiles have hardly more pixels than it has weights.",
        reference="Heckel & Hand, Deep Decoder, ICLR 2019",
        cost=2,
        kilobytes=(6, 1),
        tasks=frozenset({"denoise", "inpaint"}),
        scopes=frozenset({"tile"}),
    ),
    Entry(
        name="dip_sgld",
        method=dip_sgld,
        summary="Mean of many networks that explain the image, with their spread; needs no stop. The slowest of all.",
        question="Which images that a network makes easily agree with the observation, on average?",
        when="One precious tile, a whole night, and the wish to see where the image is uncertain (not calibrated).",
        reference="Cheng, Gadelha, Maji & Sheldon, A Bayesian perspective on the deep image prior, CVPR 2019",
        cost=3,
        kilobytes=(27, 2),
        tasks=frozenset({"denoise", "inpaint"}),
        scopes=frozenset({"tile"}),
    ),
    Entry(
        name="deep_red",
        method=deep_red,
        summary="Deep Image Prior that listens to non-local means; overfits later, keeps repeated structure.",
        question="Which image that a network makes easily and that a denoiser would leave alone is nearest?",
        when="Wherever dip would do and time does not matter: the denoiser runs on the CPU.",
        reference="Mataev, Elad & Milanfar, DeepRED: deep image prior powered by RED, ICCV-W 2019",
        cost=3,
        kilobytes=(27, 2),
        tasks=frozenset({"denoise", "inpaint"}),
        scopes=frozenset({"tile"}),
    ),
    Entry(
        name="double_over",
        method=double_over,
        summary="Deep Image Prior beside which single values may go their own way: hot, dead and salted pixels.",
        question="Which image that a network makes easily explains all but few values of the observation?",
        when="Outliers of unknown place and number, cosmic rays, salt and pepper. Slow; weak noise besides.",
        reference="You, Zhu, Qu & Ma, Robust recovery via implicit bias of discrepant learning rates, NeurIPS 2020",
        cost=3,
        kilobytes=(27, 2),
        tasks=frozenset({"denoise", "inpaint"}),
        scopes=frozenset({"tile"}),
    ),
)
