"""Networks that learn the slope of the noisy image's own distribution.

Noise2Score:
    repeat: a falls from 0.05 to 0.02, w = white noise, y' = y + a w
            descend on (w + a r(y'))^2                              (eq. 6, amortised residual auto-encoder)
    return y + s^2 r(y)                                             (eq. 8, Tweedie for Gaussian noise of variance s^2)

Written with f(y') = y' + s^2 r(y'), a denoiser: descend on (f(y') - y' + s^2 w / a)^2, return f(y). The factor
(a / s^2)^2 between both losses is the same for all pixels of a step, and Adam does not see it. Left out: other noise
than Gaussian (stabilise it) and the search for an unknown level.
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.entry import Entry
from ilcore.networks.plain import Plain
from ilcore.readouts.last import Best
from ilcore.stops.held_out import HeldOut
from ilcore.views.fading_noise import FadingNoise

#: Kim & Ye, "Noise2Score", NeurIPS 2021; a tenth of its steps, as one tile has less to teach than a data base.
#: Tried: its last amplitude of 0.001; the targets are then so noisy that one tile does not teach the score, and the
#: error left of 64 pixels square after 300 steps was 53 to 62 % instead of 15 to 19 %.
noise2score = Recipe(
    views=FadingNoise(largest=0.05, least=0.02, steps=2000),
    network=Plain(width=64, depth=8, residual=True, pointwise_end=False, slope=0.0),
    loss=SquaredError(),
    descent=Adam(2e-4),
    stop=HeldOut(steps=2000, every=25, patience=16),
    readout=Best(),
)

ENTRIES = (
    Entry(
        name="noise2score",
        method=noise2score,
        summary="Learns the slope of the noisy image's distribution; Tweedie's formula turns it into an image.",
        question="In which direction do noisy images like this one become more likely?",
        when="Gaussian white noise of known level, many tiles of one acquisition; the level may be changed afterwards.",
        reference="Kim & Ye, Noise2Score, NeurIPS 2021",
        cost=1,
        kilobytes=(5, 1),
        needs=frozenset({"noise"}),
    ),
)
