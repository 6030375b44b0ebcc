"""Where two parts meet: masks and scores, adversarial images, metrics, checkpoints, each at its moment of a stage."""
