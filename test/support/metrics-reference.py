"""Golden numbers of test/golden/metrics.test.ts, by NumPy and SciPy: python3 test/support/metrics-reference.py

Every value follows the formula of the paper in the plainest way, in double precision, or is SciPy's own.
"""

import numpy as np
from scipy import linalg, ndimage, stats
from scipy.spatial.distance import cdist


def rows(n, d, phase):
    k = np.arange(n * d, dtype=np.int64)
    q = (k * k * 31 + k * 7919 + phase * 104729) % 65521
    return ((q * q) % 65536 / 32768 - 1).astype(np.float32).reshape(n, d).astype(np.float64)


def whole(x):
    return np.floor(x + 0.5)


def frechet(a, b):  # as in mseitzer/pytorch-fid, calculate_frechet_distance
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root)


def kid(a, b):  # as in mbinkowski/MMD-GAN, unbiased
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    n = len(a)
    off = lambda k: (k.sum() - np.trace(k)) / (n * (n - 1))
    return off(kernel(a, a)) + off(kernel(b, b)) - 2 * kernel(a, b).mean()


def prdc(real, fake, k):  # as in clovaai/generative-evaluation-prdc
    radius = lambda x: np.sort(cdist(x, x), axis=1)[:, k]
    d, r, f = cdist(real, fake), radius(real), radius(fake)
    return dict(
        precision=(d < r[:, None]).any(0).mean(),
        recall=(d < f[None]).any(1).mean(),
        density=(d < r[:, None]).sum(0).mean() / k,
        coverage=(d.min(1) < r).mean(),
    )


def authenticity(real, fake):  # Alaa et al.'s definition, as in AuthPct of layer6ai-labs/dgm-eval
    within = np.where(np.eye(len(real), dtype=bool), np.inf, cdist(real, real)).min(1)
    d = cdist(fake, real)
    return (d.min(1) > within[d.argmin(1)]).mean()


def ms_ssim(a, b, size):  # pixels in [0, 2]
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    valid = lambda x: ndimage.correlate1d(ndimage.correlate1d(x, taps, 0), taps, 1)[5:-5, 5:-5]
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    sizes = [s for s in (size, size // 2, size // 4) if s >= 11]
    weights = weights[: len(sizes)] / weights[: len(sizes)].sum()
    c1, c2, product = 0.02**2, 0.06**2, 1.0
    for s, w in zip(sizes, weights):
        ma, mb = valid(a), valid(b)
        va, vb, vab = valid(a * a) - ma**2, valid(b * b) - mb**2, valid(a * b) - ma * mb
        cs = (2 * vab + c2) / (va + vb + c2)
        ssim = cs * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        product *= max(0, (ssim if s == sizes[-1] else cs).mean()) ** w
        a, b = (x.reshape(s // 2, 2, s // 2, 2).mean((1, 3)) for x in (a, b))
    return product


def pca(x, k):
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    return values[::-1][:k], values[::-1][:k].sum() / values.sum()


def spectrum(image):
    size = image.shape[0]
    power = np.abs(np.fft.fft2(image) / size**2) ** 2
    f = np.minimum(np.arange(size), size - np.arange(size))
    radius = np.floor(np.hypot(f[:, None], f[None]) + 0.5).astype(int)
    return [power[radius == r].mean() for r in range(size // 2 + 1)]



a, b = rows(120, 6, 1), rows(90, 6, 2) * 0.5 + 0.25
print("frechet", frechet(a, b))
print("kid", kid(a[:90], b))
print("prdc", {k: float(v) for k, v in prdc(a, rows(90, 6, 2) * 0.75 + 0.5, 5).items()})
many = prdc(rows(700, 3, 7), rows(600, 3, 8) * 0.875, 5)
print("prdc in strips", {k: float(v) for k, v in many.items()})
print("authenticity", authenticity(a, b))
print("wasserstein", stats.wasserstein_distance(whole((a.ravel() + 1) * 127.5), whole((b.ravel() + 1) * 127.5)))
grid = (np.arange(120 * 90) + 0.5) / (120 * 90)
step = lambda x: np.sort(x)[np.floor(grid * len(x)).astype(int)]
print("wasserstein2 squared", ((step(a[:, 0]) - step(b[:, 0])) ** 2).mean())
values, share = pca(rows(200, 12, 3), 4)
print("pca", values.tolist(), share)
for size in (28, 32, 64):
    x, noise = rows(size, size, 4), rows(size, size, 5)
    x = np.add.accumulate(np.add.accumulate(x, 0), 1)
    x = whole(x / np.abs(x).max() * 127) / 128
    print("ms-ssim", size, ms_ssim(x + 1, whole(0.75 * x * 128 + 16 * noise) / 128 + 1, size))
print("spectrum", *(np.array(spectrum(rows(s, s, 6))).tolist() for s in (8, 7)))
