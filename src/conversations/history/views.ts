/** A conversation as JSON for the caller. Stored JSON is inserted unchanged, without parsing it. */

import { streamOfTexts } from '../../http/stream-of-texts.ts';
import { isoTime } from '../../http/times.ts';
import { memberTexts } from '../../json/edit.ts';
import { toUsd, type Usage } from '../../pricing/cost.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { HistoryQuery } from '../conversations.schema.ts';
import { type MessageRow, type Profile, refOf } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';

const ROWS_AT_ONCE = 50;

/** @returns the JSON text of a conversation without its messages; `turn` is the one that runs. */
export function describe(profile: Profile, transcript: Transcript, turn: string | undefined): string {
  const { frozen } = transcript;
  return object({
    type: '"conversation"',
    id: JSON.stringify(profile.id),
    title: JSON.stringify(profile.title),
    created_at: JSON.stringify(isoTime(profile.createdAt)),
    updated_at: JSON.stringify(isoTime(profile.updatedAt)),
    state: turn === undefined ? '"idle"' : '"running"',
    turn: JSON.stringify(turn ?? null),
    model: JSON.stringify(profile.model),
    max_tokens: String(profile.maxTokens),
    system: frozen.system ?? 'null',
    tools: frozen.tools ?? 'null',
    prefix: profile.prefix ? JSON.stringify(refOf(profile.prefix)) : 'null',
    metadata: JSON.stringify(profile.metadata),
    retention_seconds: String(profile.retentionSeconds),
    history: JSON.stringify(profile.history),
    turns: String(profile.turns),
    messages: String(profile.messages),
    cost_usd: String(toUsd(profile.cost)),
    usage: JSON.stringify({ input_tokens: profile.inputTokens, output_tokens: profile.outputTokens }),
  });
}

/** @returns a page of the messages, oldest first, as a stream of JSON text. */
export function pageOfMessages(transcript: Transcript, page: HistoryQuery): ReadableStream<Uint8Array> | undefined {
  const { limit, after_id, before_id, pending = false } = page;
  const edge = after_id ?? before_id;
  const at = edge === undefined ? undefined : transcript.findMessage(edge);
  if (edge !== undefined && !at) return undefined;
  const backwards = before_id !== undefined;
  const range = backwards ? { to: (at?.seq ?? 0) - 1 } : { from: (at?.seq ?? 0) + 1 };
  const rows = transcript.places({ ...range, backwards, pending, limit: limit + 1 });
  const hasMore = rows.length > limit;
  const ids = rows.slice(0, limit);
  if (backwards) ids.reverse();
  const [first, last] = [ids[0], ids.at(-1)];
  function* texts(): Generator<string> {
    yield '{"data":[';
    let between = '';
    if (first && last) {
      for (const row of rowsBetween(transcript, first.seq, last.seq, pending)) {
        yield between + messageText(row);
        between = ',';
      }
    }
    const [firstId, lastId] = [JSON.stringify(first?.id ?? null), JSON.stringify(last?.id ?? null)];
    yield `],"has_more":${hasMore},"first_id":${firstId},"last_id":${lastId}}`;
  }
  return streamOfTexts(texts());
}

/**
 * Writes a conversation as lines of JSON: its fields, its messages, and a last line that says that the export is complete
 * (an interrupted stream looks complete).
 */
export function exportLines(profile: Profile, transcript: Transcript): ReadableStream<Uint8Array> {
  const own = describe(profile, transcript, undefined);
  function* lines(): Generator<string> {
    yield `${own}\n`;
    let messages = 0;
    for (const row of rowsBetween(transcript, 0, Number.MAX_SAFE_INTEGER)) {
      messages += 1;
      yield `${messageText(row)}\n`;
    }
    yield `${JSON.stringify({ type: 'end', messages })}\n`;
  }
  return streamOfTexts(lines());
}

/**
 * Reads rows in steps, when the caller takes them: a page need not fit into memory, and no query stays open while the
 * object does other work.
 */
function* rowsBetween(transcript: Transcript, from: number, to: number, pending = false): Generator<MessageRow> {
  for (let next = from; next <= to; ) {
    const rows = transcript.places({ from: next, to, pending, limit: ROWS_AT_ONCE });
    for (const { seq } of rows) yield* transcript.history({ from: seq, to: seq, pending });
    const last = rows.at(-1);
    if (!last) return;
    next = last.seq + 1;
  }
}

function messageText({ id, role, text, createdAt, status, cost, outcome, model }: MessageRow): string {
  const isAnswer = role === 'assistant' && outcome !== null;
  return object({
    type: '"message"',
    id: JSON.stringify(id),
    role: JSON.stringify(role),
    content: memberTexts(text).get('content') ?? '[]',
    model: isAnswer ? JSON.stringify(model) : 'null',
    usage: isAnswer ? JSON.stringify(shownUsage(outcome)) : 'null',
    cost_usd: isAnswer ? String(toUsd(cost)) : 'null',
    created_at: JSON.stringify(isoTime(createdAt)),
    status: JSON.stringify(status === 'empty' ? 'complete' : status),
  });
}

/** @returns the usage as the upstream told it; of an answer that did not end, with the output that it was settled at */
function shownUsage({ usage, estimated_output }: RequestOutcome): Usage | null {
  if (usage === undefined) return null;
  return estimated_output === undefined ? usage : { ...usage, output_tokens: estimated_output };
}

function object(fields: Record<string, string>): string {
  const members = Object.entries(fields).map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  return `{${members.join(',')}}`;
}
