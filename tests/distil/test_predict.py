import numpy as np
import pytest
import torch

from mmpkd.distil.predict import predict_probabilities
from mmpkd.distil.student import build_student
from mmpkd.errors import InputError


@pytest.fixture
def student(small):
    torch.manual_seed(0)
    return build_student(small, ["left", "below"])


def test_probabilities_are_sigmoids_of_the_logits_in_the_asked_order(student, squares):
    positions = np.array([5, 2, 9])
    expected = student.eval()(student.prepare(torch.from_numpy(squares.images.pixels[positions]))).sigmoid()
    found = predict_probabilities(student, squares.images, positions)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


def test_batch_size_does_not_matter(student, squares):
    positions = np.arange(11)
    whole = predict_probabilities(student, squares.images, positions)
    parts = predict_probabilities(student, squares.images, positions, batch_size=4)
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_classes_sum_to_one(small, squares):
    student = build_student(small, ["left", "below"], "multi-class")
    np.testing.assert_allclose(predict_probabilities(student, squares.images, np.arange(6)).sum(1), 1.0, atol=1e-6)


def test_mode_is_left_as_it_was(student, squares):
    predict_probabilities(student.train(), squares.images, np.arange(2))
    assert student.training


def test_no_cases_no_rows(student, squares):
    assert predict_probabilities(student, squares.images, np.arange(0)).shape == (0, 2)


def test_images_of_another_size_are_told(small, squares):
    other = build_student(small.model_copy(update={"image_size_px": 32}), ["left"])
    with pytest.raises(InputError, match=r"images are 16 px with 1 channel\(s\) but the student takes 32 px"):
        predict_probabilities(other, squares.images, np.arange(2))
