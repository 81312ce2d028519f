# emollama: set-up, demo, tests. `make help` lists what there is.
PYTHON ?= python3
DISTRO ?= jazzy
VENV   ?= .venv$(if $(filter-out jazzy,$(DISTRO)),-$(DISTRO))
TORCH  ?= torch==2.13.0
CLIP   ?=
SECONDS ?=
TESTS  ?=
CONSTRAINTS ?=

V   := $(abspath $(VENV))
PY  := $(V)/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check
PIN := $(CONSTRAINTS:%=--constraint %)

# Real ROS 2 from PyPI, with what builds messages. Jazzy's bounds keep Kilted's halves of shared names out.
ROS_NAMES         := rclpy[fastrtps] sensor-msgs diagnostic-msgs std-srvs ament-cmake rosidl-default-generators
ROS_BOUNDS_jazzy  := ros-jazzy-ament-cmake-ros 'ros-ament-package<0.17' 'ros-ament-cmake-include-directories<2.7' 'ros-rosidl-core-generators<0.3' \
  'ros-ament-cmake-gmock<2.7' 'ros-ament-cmake-gtest<2.7' 'ros-ament-cmake-pytest<2.7' ros-python-cmake-module
ROS_BOUNDS_kilted := 'ros-ament-package~=0.17.2' 'ros-ament-cmake-include-directories~=2.7.3' 'ros-rosidl-core-generators~=0.3.1' ros-ament-cmake-ros-core
ifeq ($(ROS_BOUNDS_$(DISTRO)),)
$(error DISTRO=$(DISTRO): there are wheels of jazzy and kilted only; for another distribution source /opt/ros/$(DISTRO)/setup.bash and leave DISTRO out)
endif
ROS_WHEELS        := $(ROS_NAMES:%='ros-$(DISTRO)-%') $(ROS_BOUNDS_$(DISTRO)) cmake ninja catkin-pkg

# With ROS sourced its own rclpy and messages are used instead.
ifdef ROS_DISTRO
VENV_OPTIONS  := --system-site-packages
SYSTEM_PREFIX := ;$(subst :,;,$(AMENT_PREFIX_PATH))
export AMENT_PREFIX_PATH := $(V):$(AMENT_PREFIX_PATH)
export LD_LIBRARY_PATH := $(V)/lib:$(LD_LIBRARY_PATH)
else
export AMENT_PREFIX_PATH := $(V)
endif
export PATH := $(V)/bin:$(PATH)

# cmake is started from the environment's python, which hands its library path down.
FROM_PYTHON := $(PY) -c 'import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))'

STAMPS := $(V)/.stamps
BUILD  := build/$(notdir $(V))
WIRE   := CMakeLists.txt package.xml $(wildcard msg/*.msg action/*.action srv/*.srv launch/*.py config/*.* config/*/*)

.PHONY: help setup dev landmarks demo test test-runtime test-kilted test-oldest test-colcon colcon-workspace lint bench faults fuzz train-nano train-tiny clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo 'Variables: CLIP=file SECONDS=n (demo)  SOAK=seconds (faults)  PYTHON=python3.12  VENV=folder  TORCH="torch==2.13.0" (test)  ROS sourced: its rclpy is used'

setup: $(STAMPS)/runtime $(STAMPS)/messages  ## environment with ROS 2, run-time dependencies and the messages; no torch

$(STAMPS)/ros:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else f"Python 3.10 to 3.12 is needed, this is {v[0]}.{v[1]}; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV_OPTIONS) $(V)
	$(PIP) --upgrade 'pip>=23' 'setuptools>=77' wheel
ifdef ROS_DISTRO
	$(PIP) cmake ninja
else
	$(PIP) $(PIN) $(ROS_WHEELS)
	sed -i -E "s#/opt/python/cp[^;\"]*#$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))')#g" \
	  $(V)/share/*/cmake/export_*__rosidl_generator_pyExport.cmake
endif
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: pyproject.toml $(CONSTRAINTS) $(STAMPS)/ros
	$(PIP) --no-build-isolation $(PIN) --editable .
	@touch $@

# Three hundred lines that matter only when something fails.
$(STAMPS)/messages: $(WIRE) $(STAMPS)/ros
	@mkdir -p $(BUILD) && echo 'building the messages (log: $(BUILD)/messages.log)'
	@{ $(FROM_PYTHON) cmake -S . -B $(BUILD) -G Ninja -DEMOLLAMA_EDITABLE=ON -DBUILD_TESTING=OFF -DCMAKE_INSTALL_MESSAGE=NEVER \
	     '-DCMAKE_PREFIX_PATH=$(V)$(SYSTEM_PREFIX)' -DCMAKE_INSTALL_PREFIX=$(V) -DPython3_EXECUTABLE=$(PY) -DPython3_FIND_VIRTUALENV=ONLY \
	   && $(FROM_PYTHON) cmake --build $(BUILD) --target install; } > $(BUILD)/messages.log 2>&1 || { cat $(BUILD)/messages.log; exit 1; }
	@touch $@

dev: setup $(STAMPS)/dev  ## setup, and what tests, linters and training need

# torch first and alone: what needs it must not choose another build of it.
$(STAMPS)/dev: pyproject.toml $(STAMPS)/runtime
	$(PIP) $(TORCH)
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup $(if $(CLIP),,.demo/clip.mp4)  ## play a clip through the real ROS graph: make demo [CLIP=file] [SECONDS=n]
	@$(PY) -m ros2_emollama.ros.demo $(if $(CLIP),--clip '$(CLIP)') $(if $(SECONDS),--seconds $(SECONDS))

# The demo's own clip: a portrait and a voice from what two wheels carry. They are unpacked to be read, not installed.
.demo/clip.mp4: ros2_emollama/ros/demo_clip.py | $(STAMPS)/runtime
	$(PIP) --upgrade --no-deps --target .demo/materials 'scikit-image>=0.22' espeakng-loader
	$(PY) -m ros2_emollama.ros.demo_clip --materials .demo/materials --out $@

test: dev  ## the tests
	$(PY) -m pytest $(TESTS)

# What a robot has and no more: no torch, no training. Tests that need those skip.
test-runtime: setup $(STAMPS)/test
	$(PY) -m pytest $(TESTS)

$(STAMPS)/test: pyproject.toml $(CONSTRAINTS) $(STAMPS)/runtime
	$(PIP) --no-build-isolation $(PIN) --editable '.[test]'
	@touch $@

# Environments of their own, so that a ROS which is sourced has no say in them.
ALONE := env -u ROS_DISTRO -u LD_LIBRARY_PATH -u PYTHONPATH $(MAKE)

test-kilted:  ## the tests that need no torch, with ROS 2 Kilted's packages (.venv-kilted)
	$(ALONE) test-runtime DISTRO=kilted VENV=.venv-kilted

test-oldest:  ## the same with the oldest dependencies that pyproject.toml allows (.venv-oldest)
	$(ALONE) test-runtime VENV=.venv-oldest CONSTRAINTS=tests/oldest.txt

test-colcon:  ## both ways of `colcon build` in a workspace of its own, and the node that comes out of them (.venv-colcon)
	$(ALONE) colcon-workspace VENV=.venv-colcon

# A robot's own environment: ROS, what README.md says to install, colcon; of emollama nothing but what colcon builds.
colcon-workspace: $(STAMPS)/colcon
	EMOLLAMA_COLCON=$(V)/bin/colcon $(PY) -m pytest tests/platform/test_colcon.py $(TESTS)

$(STAMPS)/colcon: $(STAMPS)/ros
	$(PIP) onnxruntime tokenizers safetensors av soxr threadpoolctl
	$(PIP) numpy opencv-python-headless tqdm pyyaml colcon-common-extensions pytest hypothesis
	@touch $@

FUZZ ?= 1000000

fuzz: dev  ## hostile inputs for every parser, counted; a table at the end: make fuzz [FUZZ=inputs]
	$(PY) -m tests.fuzz --inputs $(FUZZ)

lint: dev  ## ruff, mypy (strict), import-linter
	$(V)/bin/ruff check .
	$(V)/bin/mypy
	$(V)/bin/lint-imports

bench: dev .demo/clip.mp4  ## latency and cost through the real graph; a table, and build/bench.json
	@mkdir -p build
	$(PY) -m benchmarks --json build/bench.json

SOAK ?= 120

faults: dev .demo/clip.mp4  ## break the running graph in every known way and check each claim; then a soak: make faults [SOAK=seconds]
	$(PY) -m tests.faults --soak $(SOAK)

DATA ?= ../shared/data
RUN  ?= runs/nano

# One network out of a wheel, which is unpacked to be read and not installed: mediapipe asks for NumPy below 2, and its later wheels ship no
# networks. The wheel named here is the same on every machine.
LANDMARKS := .landmarks/mediapipe/modules/face_landmark/face_landmark.tflite

landmarks: $(LANDMARKS)  ## the face landmarks that training measures with (.landmarks)

$(LANDMARKS): | $(STAMPS)/ros
	$(PIP) --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 --python-version 3.12 --target .landmarks mediapipe==0.10.21
	test -f $@

train-nano: dev landmarks  ## train the shipped model again; goes on where it was stopped: make train-nano [DATA=folder] [RUN=folder]
	$(PY) -m training prepare --data '$(DATA)' --cache cache
	$(PY) -m training fit --recipe nano --data '$(DATA)' --cache cache --run '$(RUN)'
	$(PY) -m export.to_onnx --run '$(RUN)' --output models/nano --runtime both --licence CC-BY-NC-SA-4.0

TINY ?= runs/tiny

train-tiny: dev landmarks  ## the published curriculum in miniature on made-up data, from annotation to the table: make train-tiny [TINY=folder]
	$(PY) -m training rehearse --run '$(TINY)' --wheels '$(DATA)/emotion_wheel'

clean:  ## remove the environments and everything built
	rm -rf $(V) .venv-kilted .venv-oldest .venv-colcon .landmarks build .demo .mypy_cache .ruff_cache .pytest_cache
