"""Denoisers learnt from one noisy image.

ZS-N2N:
    D1, D2 = the two diagonal means of every 2x2 cell          (section 3.1)
    g(y) = y - f(y), f a net of three small convolutions
    repeat: descend on 1/2 (|g(D1) - D2|^2 + |g(D2) - D1|^2)   (eq. 4)
                     + 1/2 (|g(D1) - D1(g(y))|^2 + |g(D2) - D2(g(y))|^2)   (eq. 5)
    return g(y)
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.consistency import HalvesConsistency
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.entry import Entry
from ilcore.networks.plain import Plain
from ilcore.readouts.last import Last
from ilcore.stops.budget import After
from ilcore.views.diagonal_halves import DiagonalHalves

#: Mansour & Heckel, "Zero-Shot Noise2Noise: efficient image denoising without any data", CVPR 2023.
zs_n2n = Recipe(
    views=DiagonalHalves(),
    network=Plain(width=48, depth=3, residual=True, pointwise_end=True, slope=0.2),
    loss=SquaredError() + HalvesConsistency(),
    descent=Adam(1e-3, halve_every=1500),
    stop=After(2000),
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
    ),
)
