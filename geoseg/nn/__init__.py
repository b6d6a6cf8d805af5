import gc
import os

# Threads of the network sleep while they wait, so that those that read and write can work; with the default they spin,
# and a busy machine is several times slower. Counts only before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Modules are no garbage: to look for some among their million objects takes half a second of their import.
_collecting = gc.isenabled()
gc.disable()
try:
    from geoseg.nn.lean_import import import_without_compiler

    import_without_compiler("torchvision", "segmentation_models_pytorch")
finally:
    if _collecting:
        gc.enable()
