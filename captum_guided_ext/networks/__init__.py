"""Networks by name, with their preprocessing, their class names and their parameters."""

from captum_guided_ext.networks._class_names import check_class_names
from captum_guided_ext.networks._loading import check_network_name, find_device, load_network
from captum_guided_ext.networks._network import Network, as_network, check_not_random
from captum_guided_ext.networks._preprocessing import INTERPOLATIONS, Preprocessing
from captum_guided_ext.networks._targets import by_score, find_target, find_targets, rank_of

__all__ = [
    "INTERPOLATIONS",
    "Network",
    "Preprocessing",
    "as_network",
    "by_score",
    "check_class_names",
    "check_network_name",
    "check_not_random",
    "find_device",
    "find_target",
    "find_targets",
    "load_network",
    "rank_of",
]
