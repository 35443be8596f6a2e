/** An object as JSON has it, its members unknown. */
export type Json = Record<string, unknown>;

/** @returns whether a value is an object with members: not null, and no list. */
export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @returns the JSON object that the bytes hold; undefined if they hold anything else. */
export function parseObject(bytes: Uint8Array): Json | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
