"""A pretrained denoiser, adapted to the scan it restores.

    hold out one pixel in nine
    repeat: recorrupt the scan, y1 = y + a w, y2 = y - w / a, with w of the measured noise law
            descend on (f(y1) - y2)^2 over the other pixels
            every few steps: estimate the risk on the held-out pixels; keep the weights if they beat the untouched
                             model by two standard errors and all weights before
    return f(y) with the best weights, which may be the untouched ones

A blind-spot loss does not serve here: a residual network learns to repeat the pixels it can see.

References: Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021 (loss); Mohan et al., "Adaptive denoising via
GainTuning", NeurIPS 2021 (adaptation to one image); Darestani et al., ICML 2022 (held-out stop).
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.entry import Entry
from ilcore.networks.plain import Plain
from ilcore.readouts.last import Best
from ilcore.stops.held_out import HeldOut
from ilcore.views.recorruption import Recorruption

#: The network that ships with the project: bias-free, on sub-images of every second pixel.
blind_denoiser = Plain(
    width=64, depth=12, residual=True, pointwise_end=False, slope=0.0, bias=False, shuffle=2, grey=True
)

adapted = Recipe(
    views=Recorruption(amount=0.5),
    network=blind_denoiser,
    loss=SquaredError(),
    descent=Adam(1e-4),
    stop=HeldOut(steps=240, every=20, patience=4),
    readout=Best(),
)

ENTRIES = (
    Entry(
        name="adapted",
        method=adapted,
        summary="Pretrained blind denoiser, fine-tuned on the scan where held-out pixels prove that it helps.",
        question="What does the scan look like where fresh noise of its own law is added to it?",
        when="The default. Correlated noise: applied as it is, without fine-tuning.",
        reference="Mohan et al., GainTuning, NeurIPS 2021; Pang et al., Recorrupted-to-Recorrupted, CVPR 2021",
        cost=0,
        kilobytes=(6, 1),
        copes_with=frozenset({"white", "row", "column", "isotropic", "unknown"}),
        needs=frozenset({"weights", "noise"}),
    ),
)
