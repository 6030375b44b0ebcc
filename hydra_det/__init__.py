"""hydra_det: make object detectors small, fast and adversarially robust, and prove it."""
