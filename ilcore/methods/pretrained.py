"""A pretrained denoiser, adapted to the scan it restores.

    hold out one pixel in 25
    repeat: hide one pixel in 16 behind its neighbours; descend on the error of its prediction
            every few steps: predict the held-out pixels; keep the weights if they beat the untouched model
                             by two standard errors and all weights before
    return the denoised scan with the best weights, which may be the untouched ones

References: Mohan et al., "Adaptive denoising via GainTuning", NeurIPS 2021 (adaptation to one image);
Batson & Royer, "Noise2Self", ICML 2019 (loss); Darestani et al., ICML 2022 (held-out stop).
"""

from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.losses.fidelity import SquaredError
from ilcore.networks.plain import Plain
from ilcore.readouts.last import Best
from ilcore.stops.held_out import HeldOut
from ilcore.views.hidden_grid import HiddenGrid

#: The network that ships with the project: bias-free, on sub-images of every second pixel.
blind_denoiser = Plain(
    width=64, depth=12, residual=True, pointwise_end=False, slope=0.0, bias=False, shuffle=2, grey=True
)

adapted = Recipe(
    views=HiddenGrid(stride=4),
    network=blind_denoiser,
    loss=SquaredError(),
    descent=Adam(1e-4),
    stop=HeldOut(steps=300, every=10, patience=10),
    readout=Best(),
)
