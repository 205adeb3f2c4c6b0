from whitenoise.storage import CompressedManifestStaticFilesStorage


class ManifestStorage(CompressedManifestStaticFilesStorage):
    # Without this, the hashed name of a module is not written into the modules that import it,
    # and a browser keeps an old one after a deploy.
    support_js_module_import_aggregation = True
