/** @returns whether nothing has the focus, or something that is disabled: its browser may not have noticed yet */
export function isFocusLost(): boolean {
  const { activeElement: active, body } = document;
  return active === null || active === body || active.matches(':disabled');
}
