# make demo    environment, artifacts of every digits variant, a server on 127.0.0.1:8000 (PORT= changes it)
# make test    environment, all tests, three files at a time (WORKERS= changes it; each takes 2 GB)
# make test-fast   at most four parameters of each test, without those that are slow: one minute on two idle cores
# make rtx     builds engines by TensorRT-RTX, which it installs into .rtx: about 150 MB, under NVIDIA's licence, no GPU
# make ray     installs Ray Data, about 100 MB, and tests `python -m service.offline predict --ray` on a local cluster
# make zoo     55 networks beside what torch.onnx makes of them, printed as a table; about an hour; benchmarks.zoo_times times them
# make images        container images (TARGETS="cpu cuda"), by docker, buildah or podman: see deploy/build_images.sh
# make image-test    starts the image (IMAGE=) as in production, asks it, stops it under load, breaks its start
# make triton  Triton Inference Server in .venv-triton, for the tests marked `triton`; without it they are skipped
# make gpu-check     what the documentation states of GPUs, checked and measured on one, in 10 minutes: see docs/gpu.md
# make setup lint format
# A second run re-uses whatever is still up to date.

PYTHON3 ?= python3
PORT ?= 8000
WORKERS ?= 3
TARGETS ?= cpu
IMAGE ?= posbake:cpu

GPU_PYTHON ?= .venv-gpu/bin/python

PYTHON := .venv/bin/python
READY := .venv/.ready
PIP := .venv/.pip

.PHONY: setup demo test test-fast rtx rtx-install ray triton zoo images image-test lint format

# Compiled modules are kept, for tests start a hundred processes: each would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

setup: $(READY)

# A newer pip than Python brings unpacks the 5 GB that torch needs in two thirds of the time.
$(PIP): constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON3) is older; name another with PYTHON3=" >&2; exit 1; }
	$(PYTHON3) -m venv .venv
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --upgrade pip
	touch $@

$(READY): pyproject.toml constraints.txt $(PIP)
	$(PYTHON) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[export,service,dev]'
	touch $@

demo: $(READY)
	$(PYTHON) -m examples.digits.export --output artifacts
	$(PYTHON) -m examples.digits.demo --port $(PORT) --repository artifacts

test: $(READY)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=2 --dist=loadfile -p no:schemathesis -m "not slow"

# In a folder apart, and without what they ask for: nothing of .venv is replaced.
RTX := .rtx/.ready

rtx-install: $(RTX)

$(RTX): constraints.txt $(PIP)
	rm -rf .rtx
	$(PYTHON) -m pip install --quiet --no-compile --no-deps --constraint constraints.txt --target .rtx \
		onnxruntime-ep-nv-tensorrt-rtx-cu13 tensorrt_rtx_cu13_bindings
	touch $@

rtx: $(READY) $(RTX)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses=$(WORKERS) --dist=loadfile -m rtx

ray: $(READY)
	$(PYTHON) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[ray]'
	$(PYTHON) -m pytest -m ray

zoo: $(READY)
	$(PYTHON) -m benchmarks.zoo

triton: $(PIP)
	$(PYTHON) -m tests.triton.environment

.PHONY: gpu-check
gpu-check: $(if $(filter .venv-gpu/%,$(GPU_PYTHON)),.venv-gpu/.ready)
	$(GPU_PYTHON) -m benchmarks.gpu_check $(GPU_FLAGS)

# The two ONNX Runtimes have one import name, so the one for the CPU is removed before the other is installed.
.venv-gpu/.ready: pyproject.toml constraints.txt
	$(PYTHON3) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	.venv-gpu/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[export,service,dev]'
	.venv-gpu/bin/python -m pip uninstall --quiet --yes onnxruntime
	.venv-gpu/bin/python -m pip install --quiet --constraint constraints.txt nvidia-ml-py 'onnxruntime-gpu[cuda,cudnn]'
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
