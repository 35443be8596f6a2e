/**
 * @returns whether a key press belongs to an input method, such as one for Japanese. Safari reports the Enter that ends a
 *   composition after the composition, and marks it only by the key code 229
 */
export function isInputMethodKey({ isComposing, keyCode }: KeyboardEvent): boolean {
  return isComposing || keyCode === 229;
}
