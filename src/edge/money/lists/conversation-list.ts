/** Lists the conversations of an account, as they have reported themselves. */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import type { ConversationRow } from '../../conversations/object/conversations-answers.schema.ts';
import type { ConversationPageSelection, ListPage } from '../../durable/page.ts';
import type { SqlTables } from '../../durable/tables.ts';
import type { ConversationReport, ParentToolCall } from '../contracts/settlement.ts';
import { ErasableRows } from './listed-rows.ts';

type ConversationTableRow = Record<string, SqlStorageValue> & {
  id: string;
  created_at: number;
  updated_at: number;
  title: string | null;
  turns: number;
  messages: number;
  cost: number;
  paused: 'approval' | null;
  parent: string | null;
  tool_use_id: string | null;
};

const MAX_KNOWN_CONVERSATIONS = 1_000;

/** Keeps the rows of an account's conversations. */
export class ConversationList extends ErasableRows {
  /** The bytes of recently used conversations, by id. Reading them each time would cost each turn two queries. */
  readonly #known = new Map<string, number>();

  constructor(tables: SqlTables) {
    super(tables, 'conversations');
  }

  /** Adds a conversation when a turn of it is admitted, so that it is listed before it reports itself. */
  insertConversation(id: string, now: number, parent?: ParentToolCall): void {
    if (this.getReportedBytes(id) !== undefined) return;
    this.#cacheBytes(id, 0);
    const nothing = { version: 0, turns: 0, messages: 0, cost: 0 };
    const of = parent ? { parent: parent.conversation, tool_use_id: parent.toolUseId } : {};
    this.tables.insertRow('conversations', { id, created_at: now, updated_at: now, ...nothing, ...of });
  }

  /** @returns the bytes that a conversation has reported; undefined if it is not in the list. */
  getReportedBytes(id: string): number | undefined {
    const earlier = this.#known.get(id);
    if (earlier !== undefined) return earlier;
    const bytes = this.tables.queryNumber('select bytes from conversations where id = ?', id);
    if (bytes !== undefined) this.#cacheBytes(id, bytes);
    return bytes;
  }

  #cacheBytes(id: string, bytes: number): void {
    if (this.#known.size >= MAX_KNOWN_CONVERSATIONS) this.#known.clear();
    this.#known.set(id, bytes);
  }

  /**
   * Stores what a conversation reports. A report older than the stored one changes nothing.
   *
   * @param cost the cost of the request with which the report comes
   */
  storeReport(report: ConversationReport, cost: Nanodollars): void {
    const bytes = this.#writeReport(report, cost);
    if (bytes !== undefined) this.#cacheBytes(report.id, bytes);
  }

  /** @returns the bytes that the conversation has now; undefined if it may be gone */
  #writeReport(report: ConversationReport, cost: Nanodollars): number | undefined {
    const { id, version, createdAt, updatedAt, title, turns, messages, gone, bytes, paused, parent } = report;
    if (gone) {
      this.#known.delete(id);
      this.tables.runWriteStatement('delete from conversations where id = ? and version <= ?', id, version);
      return undefined;
    }
    const reportedBytes = this.tables.queryNumber(
      NOTE,
      id,
      version,
      createdAt,
      updatedAt,
      title,
      turns,
      messages,
      report.cost + cost,
      bytes,
      paused,
      parent?.conversation ?? null,
      parent?.toolUseId ?? null,
    );
    // A separate statement, which seldom finds a row: `created_at` is part of an index, and each write of it would cost a row.
    const isOther = 'id = ?1 and created_at != ?2 and version = ?3';
    this.tables.runWriteStatement(`update conversations set created_at = ?2 where ${isOther}`, id, createdAt, version);
    return reportedBytes;
  }

  /**
   * @param page which page. With `parent` it lists that conversation's subagents; without it all conversations except
   * subagents'
   * @param running ids of conversations with a running turn
   * @returns a page of the list, newest first
   */
  listConversations(
    { parent, ...page }: ConversationPageSelection,
    running: ReadonlySet<string>,
  ): ListPage<ConversationRow> {
    const edge = 'select created_at, id from conversations where id = ?1';
    const select = `* from conversations where ${parent === undefined ? 'parent is null' : 'parent = ?3'}`;
    const of = parent === undefined ? [] : [parent];
    const rows = this.tables.selectPage<ConversationTableRow>(
      { select, order: ['created_at', 'id'], edge },
      page,
      ...of,
    );
    return { ...rows, data: rows.data.map((row) => toConversationRow(row, running)) };
  }

  override deleteRow(id: string): void {
    this.#known.delete(id);
    super.deleteRow(id);
  }

  override has(id: string): boolean {
    return this.getReportedBytes(id) !== undefined;
  }
}

const NEWER = 'excluded.version >= version';
/** Stores a conversation's report. */
const NOTE = `insert into conversations (id, version, created_at, updated_at, title, turns, messages, cost, bytes,
      paused, parent, tool_use_id)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (id) do update set
      cost = iif(${NEWER}, excluded.cost, cost),
      updated_at = iif(${NEWER}, excluded.updated_at, updated_at),
      title = iif(${NEWER}, excluded.title, title),
      turns = iif(${NEWER}, excluded.turns, turns),
      messages = iif(${NEWER}, excluded.messages, messages),
      bytes = iif(${NEWER}, excluded.bytes, bytes),
      paused = iif(${NEWER}, excluded.paused, paused),
      version = max(version, excluded.version)
    returning bytes`;

function toConversationRow(row: ConversationTableRow, running: ReadonlySet<string>): ConversationRow {
  return {
    type: 'conversation',
    id: row.id,
    title: row.title,
    ...(row.parent === null ? {} : { parent: row.parent, tool_use_id: row.tool_use_id ?? '' }),
    created_at: new Date(row.created_at).toISOString(),
    updated_at: new Date(row.updated_at).toISOString(),
    turns: row.turns,
    messages: row.messages,
    cost_usd: toUsd(row.cost),
    state: running.has(row.id) ? 'running' : 'idle',
    paused: row.paused,
  };
}
