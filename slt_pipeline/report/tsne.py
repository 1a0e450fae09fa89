"""Points of many dimensions laid out in a plane by t-SNE, so that neighbours stay neighbours."""

import numpy as np

_PERPLEXITY = 30.0  # scikit-learn's, and the usual one


def tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """Return (P, 2) float32 for points (P, M), four or more: the same for the same points and seed.

    Perplexity is 30, and no more than a third of the other points.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    with threadpool_limits(1):  # sums of several threads come in any order, and t-SNE magnifies their last bits
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(points)
