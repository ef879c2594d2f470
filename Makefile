PY := .venv/bin/python

.PHONY: demo study real-study test test-slow notebooks lab docs clean venv

demo: venv  ## the whole study, small: a small language model, this machine
	$(PY) -m parallax_lib run params/demo.yaml

study: venv  ## the report card on a GPU: collects, trains, searches, compares; run it again after a stop and it goes on
	$(PY) -m parallax_lib run params/study.yaml

real-study: venv  ## the real code model's study, in parts that go on where they were; ROOT=~/HeCBench
	$(PY) scripts/real_study.py --root "$(ROOT)" --part all
	$(PY) scripts/real_methods.py --make

test: venv  ## style, import layers, tests, and every notebook against its committed outputs
	$(PY) -m ruff check .
	.venv/bin/lint-imports --no-logo
	$(PY) -m pytest -q -p no:nbval -n 3 --dist loadfile --no-loadscope-reorder tests
ifeq ($(wildcard data/runs/study/manifest.json),)
	$(PY) -m pytest -q -n 3 --dist loadfile --nbval --nbval-cell-timeout=600 notebooks
else
	@echo "notebooks: not compared, they show the study of your own in data/runs/study and not the one that ships"
endif

test-slow: venv  ## what takes minutes: kill and resume, the red-team sample, every forge label, Modal's client through whole stages
	$(PY) -m pytest -q -p no:nbval -n 3 --dist worksteal -m slow $$(grep -rl 'mark\.slow' tests --include='test_*.py')

notebooks: venv  ## store the study's outputs in every notebook
	$(PY) scripts/refresh_notebooks.py

lab: venv  ## the repository in JupyterLab: notebooks, executed notebooks, reports and docs are reachable by their links
	.venv/bin/jupyter lab --ServerApp.root_dir="$(CURDIR)" notebooks/00_tour.ipynb

docs: venv  ## the documentation as static pages: build/docs/index.html
	@$(PY) -c 'import furo, myst_parser, sphinx' 2>/dev/null || $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(PY) scripts/docs_site.py

venv:
	@scripts/venv.sh

clean:  ## everything that is made again on demand; data/runs stays
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
