const SPACE_BYTE = 32;

/** @returns whether the bytes from `start` to `end` begin with a prefix. */
export function rangeStartsWith(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length) return false;
  for (let i = 0; i < prefix.length; i += 1) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}

/** @returns the position after a space, if there is one; otherwise the same position. */
export function skipOneSpace(bytes: Uint8Array, at: number): number {
  return bytes[at] === SPACE_BYTE ? at + 1 : at;
}

export function isDigitByte(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57;
}
