import { parseJsonOrUndefined } from './parse.ts';

export type JsonObject = Record<string, unknown>;

/** @returns whether a value is an object with members: not null, and not a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function getMember(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

export function toStringOrUndefined(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/**
 * Writes a value of JSON as text: a string as it is, anything else as its JSON. It never throws, as `String` does for an object
 * with a member `toString`.
 */
export function toJsonText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
}

/** The same members, without those that are undefined. */
type DefinedMembers<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** @returns an object without its undefined members. The others keep their order. */
export function removeUndefined<T extends object>(value: T): DefinedMembers<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as DefinedMembers<T>;
}

/** @returns the JSON object in a text or its bytes; undefined if they are anything else. */
export function parseJsonObject(json: Uint8Array | string): JsonObject | undefined {
  const value = parseJsonOrUndefined(typeof json === 'string' ? json : new TextDecoder().decode(json));
  return isObject(value) ? value : undefined;
}
