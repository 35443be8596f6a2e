/** What a request is about, for the ledger: who or what it is for. It goes through untouched, from the request to its row. */

import { ANY_VALUE } from '../../claude/pricing/usage-sums.ts';
import type { Identity } from '../../gate/identity/caller.ts';
import type * as z from '../../kit/http/zod.ts';
import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';

/** Plain values by the names of dimensions. A name that nobody knows here is kept and passed on: a newer Worker has said it. */
export type About = Readonly<Record<string, unknown>>;

/** Something that a request can be about: a name in `About`, and the type of what stands there. */
export interface Dimension<T = unknown> {
  readonly name: string;
  /** As what `GET /usage` sums by it: its texts. Absent if it is in the rows alone. */
  readonly group?: string;
  /** @returns what the caller says of it; undefined if nothing */
  ofCaller?(identity: Identity): T | undefined;
  /** Where a request has several values, and counts in each: what they are. */
  values?(value: T): readonly string[];
  /** Whether it is a version, name@version, of what is stored by its name: once withdrawn it is refused. */
  readonly isVersion?: true;
  /** @returns the request whose place among those of its token this one has; undefined for a place of its own */
  placeOf?(value: T): string | undefined;
  /** How a row shows it, for the reference; and a message that was the answer. */
  readonly shown?: Readonly<Record<string, z.ZodMiniType>>;
  readonly shownInMessage?: Readonly<Record<string, z.ZodMiniType>>;
}

/** What rooms show in rows and messages: where a room declares a dimension, it adds the members here. */
// biome-ignore lint/suspicious/noEmptyInterface: rooms fill it
export interface ShownAbout {}

export const DIMENSIONS = seam<readonly Dimension[]>()('dimensions');

/** The version of a prefix, name@version. */
export const OF_PREFIX: Dimension<string> = { name: 'prefix', group: 'prefix', isVersion: true };
/** Tags, as `gate/identity/tags.ts` writes them. */
export const OF_TAGS: Dimension<string> = {
  name: 'tags',
  group: 'tag',
  ofCaller: ({ tags }) => tags,
  values: (tags) => tags.split(','),
};
/** A hash of the end user that the request names. */
const OF_USER: Dimension<string> = { name: 'user', group: 'user', ofCaller: ({ user }) => user };

/** All dimensions, those of rooms first. */
export const dimensions = ofRooms((): readonly Dimension[] => [
  ...pluggedInto(DIMENSIONS).flat(),
  OF_USER,
  OF_PREFIX,
  OF_TAGS,
]);

/** The columns that were released, by the names of their dimensions. All others share the column `about`, as JSON by name. */
const RELEASED_COLUMNS: ReadonlyMap<string, string> = new Map([
  ['prefix', 'prefix'],
  ['agent', 'agent'],
  ['chosenBy', 'chosen_by'],
  ['tags', 'tags'],
  ['user', 'user'],
]);

/** What the ledger sums up by. */
export interface SummedBy {
  /** Its name in sums, and for `GET /usage`. */
  group: string;
  /** What a row has of it, in SQL. */
  sql: string;
  hasSeveral: boolean;
  /** @returns the values that a request counts in, of what its row has */
  valuesIn(cell: string): readonly string[];
}

/** All that is summed up by, beside days and models. */
export const summedBy = ofRooms((): readonly SummedBy[] => {
  const own = (group: string): SummedBy => ({ group, sql: group, hasSeveral: false, valuesIn: (cell) => [cell] });
  return [
    own('token'),
    ...dimensions().flatMap((one) => (one.group ? [columnFor(one, one.group)] : [])),
    own('upstream'),
  ];
});

export function columnFor({ name, values }: Dimension, group: string): SummedBy {
  const column = RELEASED_COLUMNS.get(name);
  const read = (cell: string): unknown => (column ? cell : JSON.parse(cell));
  return {
    group,
    sql: column ?? `about -> '$."${name}"'`,
    hasSeveral: values !== undefined,
    valuesIn: (cell) => (values ? [ANY_VALUE, ...values(read(cell))] : [sumText(read(cell))]),
  };
}

/** Says one thing that a request is about. */
export function say<T>({ name }: Dimension<T>, value: T | undefined): About {
  return value === undefined ? {} : { [name]: value };
}

/** @returns what a caller's requests are about, whatever they are */
export function aboutCaller(identity: Identity): About {
  return Object.assign({}, ...dimensions().map((one) => say(one, one.ofCaller?.(identity))));
}

/** @returns the request whose place among those of its token this one has; undefined for a place of its own */
export function placeAmong(about: About): string | undefined {
  for (const { name, placeOf } of dimensions()) if (placeOf && about[name] !== undefined) return placeOf(about[name]);
  return undefined;
}

/** @returns it without what is known to be in the rows alone, and summed by nowhere */
export function summedOf(about: About): About {
  const isInRowsAlone = (name: string) => dimensions().some((one) => one.name === name && !one.group);
  return Object.fromEntries(Object.entries(about).filter(([name]) => !isInRowsAlone(name)));
}

/**
 * How it goes to an account, and is stored with what was refused: what has a column of its own as members, which is how the
 * release before reads it.
 */
export interface CrossedAbout {
  prefix?: string | null | undefined;
  agent?: string | null | undefined;
  chosenBy?: unknown;
  tags?: string | null | undefined;
  user?: string | null | undefined;
  about?: About | undefined;
}

/** @returns how it goes to an account */
export function crossing(about: About): CrossedAbout {
  const crossed: Record<string, unknown> = {};
  const others: Record<string, unknown> = {};
  for (const name of Object.keys(about)) (RELEASED_COLUMNS.has(name) ? crossed : others)[name] = about[name];
  return Object.keys(others).length === 0 ? crossed : { ...crossed, about: others };
}

/** @returns what was said, in either form */
export function aboutIn(crossed: CrossedAbout): About {
  const about: Record<string, unknown> = { ...crossed.about };
  for (const name of RELEASED_COLUMNS.keys()) {
    const value = crossed[name as keyof CrossedAbout];
    if (value !== undefined && value !== null) about[name] = value;
  }
  return about;
}

/** @returns the columns of a row that say it */
export function columnsAbout(about: About): Record<string, string> {
  const { about: others, ...released } = crossing(about);
  const said = Object.entries(released).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const columns = said.map(([name, value]) => [RELEASED_COLUMNS.get(name), sumText(value)]);
  return { ...Object.fromEntries(columns), ...(others && { about: JSON.stringify(others) }) };
}

function sumText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @returns what a row's columns show beside those that every row has */
export function shownAbout({ chosen_by, about }: { chosen_by: string | null; about: string | null }): ShownAbout {
  return {
    ...(chosen_by !== null && { chosen_by: JSON.parse(chosen_by) }),
    ...(about !== null && JSON.parse(about)),
  };
}
