/**
 * Asks for an orderly end at the first SIGINT or SIGTERM, or when a parent that keeps a channel to us is gone; a second
 * SIGINT, by somebody who will not wait, ends the process at once. A second SIGTERM says nothing new, also after `release`:
 * GNU timeout sends two, and what a command writes at its end is not to be lost to the other.
 * @returns what was asked, and the function that stops listening.
 */
export function onInterrupt(stop: () => void): { readonly asked: () => boolean; readonly release: () => void } {
  let asked = false;
  const ask = (): void => {
    if (asked) return;
    asked = true;
    stop();
  };
  const signalled = (): void => {
    if (!asked) return ask();
    release();
    process.kill(process.pid, 'SIGKILL');
  };
  const release = (): void => {
    process.off('SIGINT', signalled);
    if (!asked) process.off('SIGTERM', ask);
    process.off('disconnect', ask);
  };
  process.on('SIGINT', signalled);
  process.on('SIGTERM', ask);
  process.on('disconnect', ask);
  // Listening to a channel must not keep a finished process alive.
  process.channel?.unref();
  return { asked: () => asked, release };
}
