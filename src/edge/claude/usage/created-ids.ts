/** Collects the ids of what an answer has made: its container, its thread, files of its tools. */

import { isObject } from '../../kit/json/object.ts';

/** Things that are made at an upstream and later named by their id. A thread is named by its last message. */
export type UpstreamResourceKind = 'file' | 'container' | 'thread';

/** An id, and the kind of thing that it names. */
export interface CreatedId {
  kind: UpstreamResourceKind;
  id: string;
  /** When it ends at the upstream, in milliseconds since 1970; absent if that is unknown. */
  expiresAt?: number | undefined;
}

export const FILE_KEY = 'file_id';
/** Yields the ids of files anywhere in a value. It does not recurse, because a body may nest to any depth. */
export function* findFileIds(value: unknown): Generator<string> {
  const left: unknown[] = [value];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (typeof next !== 'object' || next === null) continue;
    const { [FILE_KEY]: id } = next as { [FILE_KEY]?: unknown };
    if (typeof id === 'string') yield id;
    // Iterate over an array directly: `Object.values` would copy it, and it may be large.
    const members: unknown[] = Array.isArray(next) ? next : Object.values(next);
    for (const member of members) if (typeof member === 'object' && member !== null) left.push(member);
  }
}

/** The maximum of ids that are recorded for one response, which is far more than any response of the API has. */
const MAX_CREATED_IDS = 1_000;

/** Collects the ids from a message, or from the events of one. */
export class CreatedResourceIdCollector {
  readonly #ids = new Map<string, CreatedId>();

  /** @param value a whole message, or the data of `message_start`, `content_block_start` or `message_delta` */
  collect(value: unknown): void {
    if (!isObject(value)) return;
    const message = isObject(value.message) ? value.message : value;
    const { delta } = value;
    if (message.type === 'message') this.#addId('thread', message.id);
    for (const holder of [message, delta]) {
      if (isObject(holder) && isObject(holder.container))
        this.#addId('container', holder.container.id, holder.container.expires_at);
    }
    for (const id of findFileIds(value)) this.#addId('file', id);
  }

  get collectedIds(): readonly CreatedId[] {
    return [...this.#ids.values()];
  }

  #addId(kind: CreatedId['kind'], id: unknown, expires?: unknown): void {
    if (typeof id !== 'string' || this.#ids.size >= MAX_CREATED_IDS) return;
    const expiresAt = typeof expires === 'string' ? Date.parse(expires) : Number.NaN;
    this.#ids.set(`${kind} ${id}`, { kind, id, ...(Number.isNaN(expiresAt) ? {} : { expiresAt }) });
  }
}

export function findCreatedIds(message: unknown): readonly CreatedId[] {
  const all = new CreatedResourceIdCollector();
  all.collect(message);
  return all.collectedIds;
}
