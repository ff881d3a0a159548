"""The network is the prior.

Deep image prior:
    z = fixed random code
    repeat: x = f(z + jitter); descend on |A x - y|^2 over trusted values   (eq. 2)
            average <- 0.99 average + 0.01 x                                (section 3.1)
    return the average

A mask in the problem turns the same recipe into inpainting (section 3.3): what is not trusted is not asked for.
"""

from ilcore.descents.adam import Adam
from ilcore.descents.guard import SteppingBack
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.entry import Entry
from ilcore.networks.skip import SkipNet
from ilcore.readouts.means import MovingAverage
from ilcore.stops.budget import After
from ilcore.views.noise_code import NoiseCode

#: Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018 / IJCV 2020, denoising at 8-bit noise 25.
dip = Recipe(
    views=NoiseCode(channels=32, amplitude=0.1, jitter=1 / 30),
    network=SkipNet(width=128, skip=4, scales=5),
    loss=SquaredError(),
    descent=SteppingBack(Adam(1e-2), drop_db=5.0),
    stop=After(3000),
    readout=MovingAverage(0.99),
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
        copes_with=frozenset({"white", "row", "column", "isotropic", "unknown"}),
        tasks=frozenset({"denoise", "inpaint"}),
        tile_steps=500,
    ),
)
