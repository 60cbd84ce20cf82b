"""Results of images in batches: as if they were one, and of none at all."""

import numpy as np
import torch

from tests.trainables.small import RUNTIME
from trainables.training.evaluation import over


def test_no_image_has_no_result_but_its_shape(data):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    index = np.arange(2)

    def apply(images):
        return network(images.float())

    with torch.no_grad():
        assert over(index, data, RUNTIME, network, apply).shape == (2, 3)
        assert over(index[:0], data, RUNTIME, network, apply).shape == (0, 3)
