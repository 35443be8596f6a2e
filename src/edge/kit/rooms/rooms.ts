/**
 * The rooms of this Worker, and what they plug into the core. The core knows no room: it asks for what all rooms in use have at
 * one seam, in the order of their list.
 */

export interface AnyRoom {
  readonly name: string;
  /** The rooms without which it cannot work. */
  readonly needs?: readonly AnyRoom[];
}

/** A seam: the member of a room's object that the core reads, and the type of what stands there. */
export interface Seam<Name extends string, Plug> {
  readonly name: Name;
  /** Absent at run time: it carries the type. */
  readonly '~plug'?: (plug: Plug) => Plug;
}

/** A seam at which one room of a Worker stands. */
export interface SingleSeam<Name extends string, Plug> extends Seam<Name, Plug> {
  readonly isSingle: true;
}

export type Plugged<S> = S extends Seam<infer Name, infer Plug> ? { readonly [N in Name]?: Plug } : never;

/** Makes a seam. @example const ALARMS = seam<Alarm>()('alarm'); */
export function seam<Plug>() {
  return <Name extends string>(name: Name): Seam<Name, Plug> => ({ name });
}

const singles: SingleSeam<string, unknown>[] = [];

/** Makes a seam for one room: which of several would be read is nothing that their order should decide. */
export function singleSeam<Plug>() {
  return <Name extends string>(name: Name): SingleSeam<Name, Plug> => {
    const single = { name, isSingle: true } as const;
    singles.push(single);
    return single;
  };
}

let shared: readonly AnyRoom[] | undefined;

/**
 * Sets the rooms of this Worker. Its Durable Objects need them, too, and may start without an app.
 *
 * @throws Error for a room whose needs are not in the list, two of one name or at a seam for one, and a list that differs
 *   from the first
 */
export function shareRooms(rooms: readonly AnyRoom[]): void {
  const differs = shared && (shared.length !== rooms.length || shared.some((room, at) => room !== rooms[at]));
  if (differs) throw new Error('Apps of this Worker were made with different rooms: its objects know only one list.');
  for (const { name, needs = [] } of rooms) {
    if (rooms.filter((one) => one.name === name).length > 1) throw new Error(`rooms: two are called ${name}.`);
    const missing = needs.find((one) => !rooms.includes(one));
    if (missing) throw new Error(`rooms: ${name} needs ${missing.name}. Put it into the list, too.`);
  }
  for (const at of singles) {
    const [one, other] = rooms.filter((room) => pluggedBy(room, at) !== undefined);
    if (other)
      throw new Error(`rooms: ${one?.name} and ${other.name} both have \`${at.name}\`. Leave out one of them.`);
  }
  // Whoever changes the list later changes nothing here, and is told so by the next app.
  shared = [...rooms];
}

/** @returns what the rooms in use have at a seam, in the order of their list. @param room of this one alone */
export function pluggedInto<Name extends string, Plug>(at: Seam<Name, Plug>, room?: string): Plug[] {
  return (shared ?? []).flatMap((one) => (room === undefined || one.name === room ? (pluggedBy(one, at) ?? []) : []));
}

/** @returns whether a room is in use, by its name */
export function hasRoom(name: string): boolean {
  return (shared ?? []).some((one) => one.name === name);
}

/** @returns the names of the plugins in use, in the order of their list */
export function pluginNames(): string[] {
  return (shared ?? []).map(({ name }) => name);
}

/** @returns what each room in use has at a seam, with the name of the room */
export function pluggedByRooms<Name extends string, Plug>(at: Seam<Name, Plug>): (readonly [string, Plug])[] {
  return (shared ?? []).flatMap((one) => pluggedInto(at, one.name).map((plug) => [one.name, plug] as const));
}

/** @returns what the room in use has that stands at a seam for one; undefined if none does */
export function pluggedOne<Name extends string, Plug>(at: SingleSeam<Name, Plug>): Plug | undefined {
  return pluggedInto(at)[0];
}

/** @returns what a room has at a seam, or what a Worker gives to a room by the options of an app */
export function pluggedBy<Name extends string, Plug>(from: object, { name }: Seam<Name, Plug>): Plug | undefined {
  // The only cast: rooms and options are typed where they are written, and the core names none of their seams.
  return (from as Plugged<Seam<Name, Plug>>)[name];
}

/**
 * Makes something of the rooms in use, once.
 *
 * @param make called at the first use: the list is set when modules have been loaded
 */
export function ofRooms<T>(make: () => T): () => T {
  let cached: { of: typeof shared; value: T } | undefined;
  return () => {
    if (cached?.of !== shared || cached === undefined) cached = { of: shared, value: make() };
    return cached.value;
  };
}
