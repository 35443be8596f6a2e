/**
 * Sends changes from the object in which they are made to the list of all changes.
 *
 * A change is stored in the same step as what it reports. It is deleted once the list has it. Until then the object's alarm
 * sends it again. The list keeps each id once. So a crash neither loses a change nor lists it twice.
 */

import type { DurableObjectServices } from '../../durable/edge-object.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { createChangeId } from '../../kit/http/headers/request-id.ts';
import { isObject } from '../../kit/json/object.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import type { ChangeKind } from './change-kinds.ts';
import type { ChangeOrigin } from './change-origin.ts';
import type { ChangeRow, ChangeSubject } from './changes-answers.schema.ts';

/** Each change that the list has not confirmed has its own key in `meta`, which ends with its id. */
const KEY_PREFIX = 'change:';
const KEYS_END = 'change;';
/** How many changes are sent with one call. */
const SENT_AT_ONCE = 50;
const RETRY_MS = 10_000;
/** Alarm times for changes are rounded up to multiples of this, whatever the grain of their object is. Milliseconds. */
const CHANGE_GRAIN_MS = 1_000;
const CALL_MS = 20_000;

/** The changed fields, each with its value before and after. */
export type ChangedFields = ChangeRow['changes'];

/** A change before it has its id. */
export interface NewChange {
  kind: ChangeKind;
  subject: ChangeSubject;
  changes: ChangedFields;
}

/** A change on its way to the list. */
export interface ChangeInTransit extends NewChange {
  id: string;
  /** Milliseconds since 1970. */
  at: number;
  by: ChangeOrigin;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Lists changes, each id once. Without it, changes are only logged. Only one plugin may have it. */
    readonly changeList?: (env: Bindings, changes: readonly ChangeInTransit[]) => Promise<void>;
  }
}

/** Keeps the changes of an object until the list of all changes has them. */
export class ChangeOutbox {
  readonly #tables: SqlTables;
  readonly #surroundings: DurableObjectServices;
  #sending: Promise<void> | undefined;

  constructor(tables: SqlTables, around: DurableObjectServices) {
    this.#tables = tables;
    this.#surroundings = around;
  }

  /**
   * Stores changes, and begins to send them. Call it in the step that makes them.
   *
   * @param by absent if no admin makes them. Then they are not listed
   */
  recordChanges(by: ChangeOrigin | undefined, changes: readonly NewChange[]): void {
    if (!by || changes.length === 0 || !getSinglePluginMember('changeList')) return;
    const at = this.#surroundings.now();
    // Set the alarm before the change is stored, so that it is sent later if the object dies during the call to the list.
    this.#surroundings.alarm.scheduleAt(at + RETRY_MS, CHANGE_GRAIN_MS);
    for (const change of changes) {
      const stored: ChangeInTransit = { id: createChangeId(), at, by, ...change };
      this.#tables.writeMetaValue(KEY_PREFIX + stored.id, JSON.stringify(stored));
    }
    this.#surroundings.waitUntil(this.sendUnconfirmedChanges());
  }

  /** Sends the changes that the list has not confirmed. The alarm calls it again. It never throws. */
  async sendUnconfirmedChanges(): Promise<void> {
    this.#sending ??= this.#sendAllChanges().finally(() => {
      this.#sending = undefined;
    });
    await this.#sending;
  }

  async #sendAllChanges(): Promise<void> {
    const listChanges = getSinglePluginMember('changeList');
    if (!listChanges) return;
    for (;;) {
      const due = this.#readDueChanges();
      if (due.length === 0) return;
      try {
        await waitWithTimeout(listChanges(this.#surroundings.env, due), CALL_MS);
      } catch (thrown) {
        const nextAt = this.#surroundings.now() + RETRY_MS;
        this.#surroundings.alarm.scheduleAt(nextAt, CHANGE_GRAIN_MS);
        this.#surroundings.retries.recordFailure('change', thrown, nextAt);
        return;
      }
      this.#surroundings.retries.recordSuccess('change');
      for (const { id } of due) this.#tables.writeMetaValue(KEY_PREFIX + id, undefined);
    }
  }

  #readDueChanges(): ChangeInTransit[] {
    const rows = this.#tables.readAllRows<{ value: string }>(
      'select value from meta where key >= ? and key < ? order by key limit ?',
      KEY_PREFIX,
      KEYS_END,
      SENT_AT_ONCE,
    );
    return rows.map(({ value }) => JSON.parse(value) as ChangeInTransit);
  }
}

/** @returns the fields whose values differ. Null stands for a value that is absent */
export function compareFields(before: object | null, after: object | null): ChangedFields {
  const [old, current] = [before ?? {}, after ?? {}] as Record<string, unknown>[];
  const names = [...new Set([...Object.keys(old ?? {}), ...Object.keys(current ?? {})])];
  return Object.fromEntries(
    names.flatMap((name) => {
      const [from, to] = [old?.[name] ?? null, current?.[name] ?? null];
      return isSameValue(from, to) ? [] : [[name, { from, to }]];
    }),
  );
}

function isSameValue(one: unknown, other: unknown): boolean {
  if (isObject(one) && isObject(other)) return Object.keys(compareFields(one, other)).length === 0;
  return JSON.stringify(one) === JSON.stringify(other);
}

/** @returns the changes of an account that is moved from one group to another, in the lists of both */
export function createMembershipChanges(
  subject: ChangeSubject,
  before: string | null,
  after: string | null,
): readonly NewChange[] {
  const removed = { kind: 'group.member_removed', subject, changes: { group: { from: before, to: null } } } as const;
  const added = { kind: 'group.member_added', subject, changes: { group: { from: null, to: after } } } as const;
  if (before === after) return [];
  return [...(before === null ? [] : [removed]), ...(after === null ? [] : [added])];
}

/** @returns the change of limits; none if no limit differs */
export function createLimitsChange(
  subject: ChangeSubject,
  before: object | null,
  after: object | null,
): readonly NewChange[] {
  const changes = compareFields(before, after);
  return Object.keys(changes).length === 0 ? [] : [{ kind: 'limits.updated', subject, changes }];
}
