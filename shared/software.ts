/** What runs here, as logs and statements name it; the version is that of package.json, which a test compares. */
export const VERSION = '0.1.0';
export const SOFTWARE = `veilgan/${VERSION} node/${process.versions.node}`;
