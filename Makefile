# make demo    environment, artifacts of every digits variant, and a server on 127.0.0.1:8000 (change it with PORT=)
# make test    environment, and all tests, in three processes of 2 GB each (change it with WORKERS=)
# make test-fast   without slow tests, and with at most four parameters of each: one minute on two idle cores
# make rtx     tests with TensorRT-RTX, installed into .rtx: about 150 MB, under NVIDIA's licence, no GPU
# make ray     installs Ray Data, about 100 MB, and tests `python -m service.offline predict --ray` on a local cluster
# make zoo     graphs of 55 networks compared with torch.onnx's, as a table; about an hour; benchmarks.zoo_times times them
# make images        container images (TARGETS="cpu cuda"), by docker, buildah or podman: see deploy/build_images.sh
# make image-test    tests an image (IMAGE=) as in production: requests, stops under load, failing starts
# make triton  Triton Inference Server in .venv-triton, for the tests marked `triton`, which are skipped without it
# make gpu-check     checks and timings of the documentation's statements about GPUs, on a GPU, in 10 minutes: see docs/gpu.md
# make setup lint format
# Repeated runs reuse everything that is up to date.

PYTHON3 ?= python3
PORT ?= 8000
WORKERS ?= 3
TARGETS ?= cpu
IMAGE ?= posbake:cpu

GPU_PYTHON ?= .venv-gpu/bin/python

PYTHON := .venv/bin/python
READY := .venv/.ready
UV := .venv/.uv
, := ,

.PHONY: setup demo test test-fast rtx rtx-install ray triton zoo images image-test lint format

# Compiled modules are kept, because tests start a hundred processes that import torch.
unexport PYTHONDONTWRITEBYTECODE

setup: $(READY)

# $(call install,ENVIRONMENT,ARGUMENTS): uv installs everything in a third of pip's time. It does not read pip's
# configuration, such as another index, so pip is tried if it fails.
install = $(1)/bin/uv pip install --quiet --python $(1)/bin/python --constraint constraints.txt $(2) || \
	{ echo "uv failed, see above; trying pip" >&2; \
	$(1)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt $(2); }

$(UV): constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON3) is older; name another with PYTHON3=" >&2; exit 1; }
	$(PYTHON3) -m venv .venv
	$(PYTHON) -m pip install --quiet --constraint constraints.txt uv
	touch $@

$(READY): pyproject.toml constraints.txt $(UV)
	$(call install,.venv,--editable '.[export$(,)service$(,)dev]')
	touch $@

demo: $(READY)
	$(PYTHON) -m examples.digits.export --output artifacts
	$(PYTHON) -m examples.digits.demo --port $(PORT) --repository artifacts

test: $(READY)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=2 --dist=loadfile -p no:schemathesis -m "not slow"

# In a separate folder and without dependencies, so that nothing in .venv is replaced.
RTX := .rtx/.ready

rtx-install: $(RTX)

$(RTX): constraints.txt $(UV)
	rm -rf .rtx
	$(call install,.venv,--no-deps --target .rtx onnxruntime-ep-nv-tensorrt-rtx-cu13 tensorrt_rtx_cu13_bindings)
	touch $@

rtx: $(READY) $(RTX)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadfile -m rtx

ray: $(READY)
	$(call install,.venv,--editable '.[ray]')
	$(PYTHON) -m pytest -m ray

zoo: $(READY)
	$(PYTHON) -m benchmarks.zoo

triton: $(UV)
	$(PYTHON) -m tests.triton.environment

.PHONY: gpu-check
gpu-check: $(if $(filter .venv-gpu/%,$(GPU_PYTHON)),.venv-gpu/.ready)
	$(GPU_PYTHON) -m benchmarks.gpu_check $(GPU_FLAGS)

# Both ONNX Runtimes have the same import name, so the CPU's is removed before the GPU's is installed.
.venv-gpu/.ready: pyproject.toml constraints.txt
	$(PYTHON3) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --constraint constraints.txt uv
	$(call install,.venv-gpu,--editable '.[export$(,)service$(,)dev]')
	.venv-gpu/bin/python -m pip uninstall --quiet --yes onnxruntime
	$(call install,.venv-gpu,nvidia-ml-py 'onnxruntime-gpu[cuda$(,)cudnn]')
	touch $@

images:
	deploy/build_images.sh $(TARGETS)

image-test: $(READY)
	$(PYTHON) -m examples.digits.export --output artifacts
	$(PYTHON) -m deploy.image_test --image $(IMAGE) --repository artifacts

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

format: $(READY)
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format
