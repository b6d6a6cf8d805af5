import os

# Threads of the network sleep while they wait, so that those that read and write can work; with the default they spin,
# and a busy machine is several times slower. Counts only before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from geoseg.nn.lean_import import import_without_compiler

import_without_compiler("torchvision", "segmentation_models_pytorch")
