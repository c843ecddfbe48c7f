"""What `mattestream eval` does: results of the real pipeline against the truth.

Reading order: `cases` (one picture with its truth), `dataset` (a folder of them), `composites`
(generated ones), `settings` (options in words), `runs` (a model with settings, measured on a case),
`summary` (means), `panels` and `sheets` (pictures to look at), `report` (the files).
"""
