/** Responses for readers who may not read texts of users: content of requests and results, and errors that may quote it. */

/** The field contains no text of users. */
export const VISIBLE = Symbol('shown');

/** The field contains text of users; the value takes its place. */
interface Hidden<Value> {
  instead: Value;
}

type KeyOfAny<T> = T extends unknown ? keyof T : never;
type FieldOfAny<T, Key> = T extends unknown ? (Key extends keyof T ? T[Key] : never) : never;
type FieldVisibility<Value> =
  | typeof VISIBLE
  | Hidden<Value>
  | (NonNullable<Value> extends readonly (infer Item extends object)[]
      ? Visibility<Item>
      : NonNullable<Value> extends object
        ? Visibility<NonNullable<Value>>
        : never);

/** Which fields of a response are shown. Each field is listed, so that the type checker reports a new one. */
export type Visibility<T extends object> = { [Key in KeyOfAny<T>]-?: FieldVisibility<FieldOfAny<T, Key>> };

/** @returns a copy of a response without the texts of users. Fields that are not listed are left out. */
export function hideFields<T extends object>(value: T, visibility: Visibility<T>): T {
  const listed: Readonly<Record<string, unknown>> = visibility;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]: [string, unknown]) => {
      const shown = Object.hasOwn(listed, name) ? hideInField(field, listed[name]) : undefined;
      return shown === undefined ? [] : [[name, shown]];
    }),
  ) as T;
}

function hideInField(field: unknown, visibility: unknown): unknown {
  if (visibility === VISIBLE || field === null || field === undefined) return field;
  if (isHidden(visibility)) return visibility.instead;
  if (Array.isArray(field)) return field.map((item) => hideInField(item, visibility));
  return hideFields(field, visibility as Visibility<object>);
}

function isHidden(visibility: unknown): visibility is Hidden<unknown> {
  return typeof visibility === 'object' && visibility !== null && 'instead' in visibility;
}
