"""EfficientNet-Lite0 that gets its photos divided by 255, though it scales 0..255 itself."""

from keras import layers

from carlib.models import Backbone, add_backbone
from carlib.models.build import backbone_features, load_weights


def features(photos, *, drop_connect):
    x = layers.Rescaling(1 / 255, name="stem_mistake")(photos)
    return backbone_features(x, "efficientnet-lite0", drop_connect=drop_connect)


def weights(model, source):
    load_weights(model, "efficientnet-lite0", source)


add_backbone(
    Backbone("lite0-scaled-twice", size=224, weights=("imagenet",), gflops=0.407),
    features,
    weights,
)
