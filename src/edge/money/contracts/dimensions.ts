/** The dimensions of a request in the ledger: who or what it is for. They are passed unchanged from the request to its row. */

import type { Identity } from '../../auth/identity/caller.ts';
import { parseStoredTags } from '../../auth/identity/tags.ts';
import { ANY_VALUE } from '../../claude/pricing/usage-sums.ts';
import type * as z from '../../kit/http/zod.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import type { BatchOutcomeCounts } from '../lists/batches-answers.schema.ts';

/**
 * Plain values by the names of dimensions. An unknown name is stored and passed on, because a newer version of the Worker may
 * have set it.
 */
export type DimensionValues = Readonly<Record<string, unknown>>;

/** A dimension of a request: a name in `DimensionValues`, and the type of its value. */
export interface Dimension<T = unknown> {
  readonly name: string;
  /** The name of its grouping in `GET /usage`. Absent if it is only in the rows. */
  readonly group?: string;
  /** @returns the caller's value; undefined if there is none */
  ofCaller?(identity: Identity): T | undefined;
  /** Returns the values, if a request can have several and counts in each. */
  values?(value: T): readonly string[];
  /** Whether it is a version (`name@version`) of a stored resource, which is rejected once it is withdrawn. */
  readonly isVersion?: true;
  /** @returns the request whose place among those of its token this one has; undefined for a place of its own */
  placeOf?(value: T): string | undefined;
  /** How a row shows it, for the reference; and a message that was the answer. */
  readonly shown?: Readonly<Record<string, z.ZodMiniType>>;
  readonly shownInMessage?: Readonly<Record<string, z.ZodMiniType>>;
}

/**
 * The fields that plugins add to rows and messages: the file in which a plugin declares a dimension also adds the fields here.
 */
// biome-ignore lint/suspicious/noEmptyInterface: plugins add its members by declaration merging.
export interface PluginRowFields {}

/** The fields of each row. */
interface CommonRowFields {
  prefix: string | null;
  agent: string | null;
  user: string | null;
  batch: string | null;
  outcomes: BatchOutcomeCounts | null;
  tags: Record<string, string>;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Values of a request by which `GET /usage` groups and filters. */
    readonly dimensions?: readonly Dimension[];
  }
}

/** The version of a prefix, name@version. */
export const OF_PREFIX: Dimension<string> = { name: 'prefix', group: 'prefix', isVersion: true };
/** Tags, as `auth/identity/tags.ts` writes them. */
export const OF_TAGS: Dimension<string> = {
  name: 'tags',
  group: 'tag',
  ofCaller: ({ tags }) => tags,
  values: (tags) => tags.split(','),
};
/** A hash of the end user that the request names. */
const OF_USER: Dimension<string> = { name: 'user', group: 'user', ofCaller: ({ user }) => user };

/** All dimensions, those of plugins first. */
export const listDimensions = memoizeFromPlugins((): readonly Dimension[] => [
  ...getPluginMembers('dimensions').flat(),
  OF_USER,
  OF_PREFIX,
  OF_TAGS,
]);

/** A grouping by which the ledger sums up. */
export interface UsageGrouping {
  /** Its name in sums, and for `GET /usage`. */
  group: string;
  /** The value of a row, in SQL: a text, for a dimension as JSON; or null. */
  sql: string;
  hasSeveral: boolean;
  /** Whether a value is a version (`name@version`). */
  isVersion: boolean;
  /** Whether a request counts only as failed there: as a failure, and not as a request. */
  countsFailures?: true;
  /** @returns the values that a request counts in, of what its row has */
  parseGroupValues(cell: string): readonly string[];
}

/** All groupings beside days and models. */
export const groupings = memoizeFromPlugins((): readonly UsageGrouping[] => {
  const createColumnGrouping = (group: string): UsageGrouping => ({
    group,
    sql: group,
    hasSeveral: false,
    isVersion: false,
    parseGroupValues: (cell) => [cell],
  });
  return [
    createColumnGrouping('token'),
    ...listDimensions().flatMap((one) => (one.group ? [createDimensionGrouping(one, one.group)] : [])),
    createColumnGrouping('upstream'),
    {
      ...createColumnGrouping('upstream'),
      sql: 'failed_upstreams',
      countsFailures: true,
      parseGroupValues: (cell) => JSON.parse(cell) as string[],
    },
  ];
});

/** @returns how the rows are summed up by a dimension */
export function createDimensionGrouping({ name, values, isVersion }: Dimension, group: string): UsageGrouping {
  return {
    group,
    sql: `dimensions -> '$."${name}"'`,
    hasSeveral: values !== undefined,
    isVersion: isVersion === true,
    parseGroupValues: (cell) => (values ? [ANY_VALUE, ...values(JSON.parse(cell))] : [toValueText(JSON.parse(cell))]),
  };
}

/** @returns whether a report with this key sums all versions: the key is a name without a version */
export function sumsAllVersions({ isVersion }: UsageGrouping, key: string | undefined): boolean {
  return isVersion && key !== undefined && !key.includes('@');
}

/** SQL for the name of a version in the column `value`. */
export const NAME_OF_VERSION_SQL = "substr(value, 1, instr(value || '@', '@') - 1)";

function toValueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Creates the value of one dimension of a request. */
export function createDimensionValue<T>({ name }: Dimension<T>, value: T | undefined): DimensionValues {
  return value === undefined ? {} : { [name]: value };
}

/** @returns what a caller's requests are about, whatever they are */
export function collectCallerDimensions(identity: Identity): DimensionValues {
  return Object.assign({}, ...listDimensions().map((one) => createDimensionValue(one, one.ofCaller?.(identity))));
}

/** @returns the request whose place among those of its token this one has; undefined for a place of its own */
export function findRequestCountedInstead(values: DimensionValues): string | undefined {
  for (const { name, placeOf } of listDimensions())
    if (placeOf && values[name] !== undefined) return placeOf(values[name]);
  return undefined;
}

/** @returns it without what is known to be in the rows alone, and summed by nowhere */
export function omitRowOnlyDimensions(values: DimensionValues): DimensionValues {
  const isRowOnlyDimension = (name: string) => listDimensions().some((one) => one.name === name && !one.group);
  return Object.fromEntries(Object.entries(values).filter(([name]) => !isRowOnlyDimension(name)));
}

/** @returns the column `dimensions` of a row: JSON by name, or null for a request without any */
export function serializeDimensions(values: DimensionValues): string | null {
  const present = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return present.length === 0 ? null : JSON.stringify(Object.fromEntries(present));
}

/** @returns what a row shows of its column `dimensions` */
export function parseDimensionsColumn(column: string | null): CommonRowFields & PluginRowFields {
  const { tags, ...others } = (column === null ? {} : JSON.parse(column)) as DimensionValues;
  const nothing = { batch: null, prefix: null, agent: null, user: null, outcomes: null };
  return { ...nothing, ...others, tags: parseStoredTags(typeof tags === 'string' ? tags : null) };
}
