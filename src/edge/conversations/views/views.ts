/** A conversation as JSON for the caller. Stored JSON is inserted unchanged, without parsing it. */

import { toUsd } from '../../claude/pricing/cost.ts';
import type { Page } from '../../durable/page.ts';
import { createPage } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { removeAddresses } from '../../registry/tools/edge-tools.ts';
import { type MessageRow, type Profile, refOf } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { pauseReason } from '../history/storage/turn-queries.ts';
import type { HistoryQuery } from '../object/conversations.schema.ts';
import type { ImportOmissions } from '../object/conversations-answers.schema.ts';
import { messageText, objectText, readRows } from './message-json.ts';
import { FULL_VIEWER, type Viewer } from './redact-for.ts';
import { hiddenFieldsFor, rowText, type ShownRange, shownRanges } from './view-rows.ts';

/**
 * @param turn the id of the running turn
 * @param omitted how much was left out when it was created
 * @returns the JSON text of a conversation without its messages
 */
export function describe(
  profile: Profile,
  transcript: Transcript,
  turn: string | undefined,
  omitted?: ImportOmissions,
): string {
  const { frozen, standIns } = transcript;
  const summaries = standIns?.describe((until) => lastMessageIds(transcript, until));
  const { parent } = profile;
  return objectText({
    type: '"conversation"',
    id: JSON.stringify(profile.id),
    title: JSON.stringify(profile.title),
    created_at: JSON.stringify(toIsoTime(profile.createdAt)),
    updated_at: JSON.stringify(toIsoTime(profile.updatedAt)),
    state: turn === undefined ? '"idle"' : '"running"',
    paused: JSON.stringify(pauseReason(transcript)),
    turn: JSON.stringify(turn ?? null),
    model: JSON.stringify(profile.choices?.at(-1)?.model ?? profile.model),
    max_tokens: String(profile.maxTokens),
    system: frozen.system ?? 'null',
    tools: removeAddresses(frozen.tools ?? 'null'),
    ...(parent && { parent: JSON.stringify(parent.conversation), tool_use_id: JSON.stringify(parent.toolUseId) }),
    prefix: profile.prefix ? JSON.stringify(refOf(profile.prefix)) : 'null',
    agent: JSON.stringify(profile.agent ? { name: profile.agent.name, version: refOf(profile.agent) } : null),
    metadata: JSON.stringify(profile.metadata),
    retention_seconds: String(profile.retentionSeconds),
    history: JSON.stringify(profile.history),
    turns: String(profile.turns),
    messages: String(profile.messages),
    cost_usd: String(toUsd(profile.cost)),
    usage: JSON.stringify({ input_tokens: profile.inputTokens, output_tokens: profile.outputTokens }),
    ...(summaries && { summaries: JSON.stringify(summaries) }),
    ...(omitted && Object.values(omitted).some((many) => many > 0) ? { dropped: JSON.stringify(omitted) } : {}),
  });
}

/** @returns the ids of the last messages up to a number, as they are stored and as they are shown */
function lastMessageIds(transcript: Transcript, until: number) {
  const last = { isBackwards: true, pending: false, limit: 1 };
  return {
    until: transcript.messages.ids({ ...last, to: until })[0]?.id ?? null,
    until_shown: shownRanges(transcript, until + 1, last)[0]?.id ?? null,
  };
}

/** A page: where it begins and ends, and the text of each row in pieces. */
interface PageRows {
  bounds: Omit<Page<unknown>, 'data'>;
  texts: Iterable<Iterable<string>>;
}

/**
 * Reads a page of the messages, oldest first. Who does not see tools has the view `shown`.
 *
 * @returns it as a stream of JSON text; undefined if the cursor is not a message
 */
export function pageOfMessages(
  transcript: Transcript,
  page: HistoryQuery,
  viewer: Viewer,
): ReadableStream<Uint8Array> | undefined {
  const { after_id, before_id } = page;
  const edge = after_id ?? before_id;
  const at = edge === undefined ? undefined : transcript.messages.findMessage(edge);
  if (edge !== undefined && !at) return undefined;
  const pageOf = page.view === 'shown' || viewer.shouldHideTools ? shownPage : storedPage;
  return createTextStream(pageText(pageOf(transcript, at?.seq, page, viewer)));
}

function* pageText({ bounds: ends, texts }: PageRows): Generator<string> {
  yield '{"data":[';
  let between = '';
  for (const pieces of texts) {
    for (const piece of pieces) {
      yield between + piece;
      between = '';
    }
    between = ',';
  }
  yield `],${JSON.stringify(ends).slice(1)}`;
}

/** @param at the number of the message after which the page begins, or before which it ends */
function storedPage(
  transcript: Transcript,
  at: number | undefined = 0,
  { limit, before_id, pending = false }: HistoryQuery,
  viewer: Viewer,
): PageRows {
  const isBackwards = before_id !== undefined;
  const range = isBackwards ? { to: at - 1 } : { from: at + 1 };
  const rows = transcript.messages.ids({ ...range, isBackwards, pending, limit: limit + 1 });
  const { data, ...ends } = createPage(rows, limit, isBackwards, ({ id }) => id);
  const [first, last] = [data[0], data.at(-1)];
  return { bounds: ends, texts: first && last ? storedTexts(transcript, first.seq, last.seq, pending, viewer) : [] };
}

function shownPage(transcript: Transcript, at: number | undefined, page: HistoryQuery, viewer: Viewer): PageRows {
  const { limit, before_id, pending = false } = page;
  const isBackwards = before_id !== undefined;
  const rows = shownRanges(transcript, at, { isBackwards, pending, limit: limit + 1 });
  const { data, ...ends } = createPage(rows, limit, isBackwards, ({ id }) => id);
  return { bounds: ends, texts: shownTexts(transcript, data, pending, viewer) };
}

export function* storedTexts(
  transcript: Transcript,
  from: number,
  to: number,
  pending = false,
  viewer = FULL_VIEWER,
): Generator<string[]> {
  for (const row of readRows(transcript, from, to, pending))
    yield [messageText({ ...row, ...hiddenFieldsFor(viewer) })];
}

export function* shownTexts(
  transcript: Transcript,
  ranges: readonly ShownRange[],
  pending = false,
  viewer = FULL_VIEWER,
  ids: ReadonlySet<string> = transcript.calls.ids,
): Generator<Iterable<string>> {
  /** Reads the messages between two answers of runs. */
  let rows: Iterator<MessageRow> | undefined;
  for (const [at, range] of ranges.entries()) {
    if (range.run !== null) rows = undefined;
    else if (!rows) {
      let end = at;
      while (ranges[end + 1]?.run === null) end += 1;
      rows = readRows(transcript, range.from, ranges[end]?.to ?? range.to, pending);
    }
    yield rowText(transcript, range, { pending, calls: ids, viewer, rows });
  }
}
