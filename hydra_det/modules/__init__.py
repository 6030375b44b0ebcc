"""Networks: masked convolutions, the detector that Lightning trains, and a folder a family of detectors."""
