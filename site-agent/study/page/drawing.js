/** One picture on a canvas, enlarged by whole steps. */

const STEPS = [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32];
/** Screen pixels a picture has at first, about. */
const COMFORTABLE = 512;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLOutputElement} shown - says the enlargement.
 * @param {HTMLInputElement} smooth - whether pixels are smoothed when enlarged.
 */
export function drawing(canvas, shown, smooth) {
  let step = 0;
  let edge = 0;
  const resize = () => {
    canvas.style.width = canvas.style.height = `${edge * STEPS[step]}px`;
    shown.value = `${STEPS[step]} ×`;
  };
  smooth.addEventListener('change', () => canvas.classList.toggle('smooth', smooth.checked));
  return {
    /** @param {ImageBitmap} bitmap */
    show(bitmap) {
      if (edge === 0)
        step = Math.max(
          0,
          STEPS.findLastIndex((s) => s * bitmap.width <= COMFORTABLE),
        );
      edge = bitmap.width;
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).drawImage(bitmap, 0, 0);
      resize();
    },
    clear() {
      canvas.getContext('2d')?.clearRect(0, 0, canvas.width, canvas.height);
    },
    /** @param {1 | -1} by */
    zoom(by) {
      step = Math.min(STEPS.length - 1, Math.max(0, step + by));
      resize();
    },
    toggleSmooth() {
      smooth.click();
    },
  };
}
