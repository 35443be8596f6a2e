/** A conversation as JSON for the caller. Stored JSON is inserted unchanged, without parsing it. */

import { toUsd } from '../../claude/pricing/cost.ts';
import type { ListPage } from '../../durable/page.ts';
import { createPageResponse } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { removeToolAddresses } from '../../registry/tools/edge-tools.ts';
import { type ConversationProfile, formatVersionReference, type MessageRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { findReportedPauseReason } from '../history/storage/turn-queries.ts';
import type { HistoryPageQuery } from '../object/conversations.schema.ts';
import type { ImportOmissions } from '../object/conversations-answers.schema.ts';
import { formatMessageJson, formatObjectFromTexts, readMessageRows } from './message-json.ts';
import { FULL_VIEWER, type ViewerVisibility } from './redact-for.ts';
import { findShownRanges, formatShownRow, getHiddenFields, type ShownMessageRange } from './view-rows.ts';

/**
 * @param turn the id of the running turn
 * @param omitted how much was left out when it was created
 * @returns the JSON text of a conversation without its messages
 */
export function formatConversationJson(
  profile: ConversationProfile,
  transcript: Transcript,
  turn: string | undefined,
  omitted?: ImportOmissions,
): string {
  const { frozenTexts: frozen, historySubstitutes: standIns } = transcript;
  const summaries = standIns?.describeSummaries((until) => findLastMessageIds(transcript, until));
  const { parent } = profile;
  return formatObjectFromTexts({
    type: '"conversation"',
    id: JSON.stringify(profile.id),
    title: JSON.stringify(profile.title),
    created_at: JSON.stringify(toIsoTime(profile.createdAt)),
    updated_at: JSON.stringify(toIsoTime(profile.updatedAt)),
    state: turn === undefined ? '"idle"' : '"running"',
    paused: JSON.stringify(findReportedPauseReason(transcript)),
    turn: JSON.stringify(turn ?? null),
    model: JSON.stringify(profile.choices?.at(-1)?.model ?? profile.model),
    max_tokens: String(profile.maxTokens),
    system: frozen.system ?? 'null',
    tools: removeToolAddresses(frozen.tools ?? 'null'),
    ...(parent && { parent: JSON.stringify(parent.conversation), tool_use_id: JSON.stringify(parent.toolUseId) }),
    prefix: profile.prefix ? JSON.stringify(formatVersionReference(profile.prefix)) : 'null',
    agent: JSON.stringify(
      profile.agent ? { name: profile.agent.name, version: formatVersionReference(profile.agent) } : null,
    ),
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
function findLastMessageIds(transcript: Transcript, until: number) {
  const last = { isBackwards: true, pending: false, limit: 1 };
  return {
    until: transcript.messages.readMessageIds({ ...last, to: until })[0]?.id ?? null,
    until_shown: findShownRanges(transcript, until + 1, last)[0]?.id ?? null,
  };
}

/** A page: where it begins and ends, and the text of each row in pieces. */
interface MessagePageTexts {
  bounds: Omit<ListPage<unknown>, 'data'>;
  texts: Iterable<Iterable<string>>;
}

/**
 * Reads a page of the messages, oldest first. A viewer that may not see tools has the view `shown`.
 *
 * @returns the page as a stream of JSON text; undefined if the cursor is not a message
 */
export function streamMessagePage(
  transcript: Transcript,
  page: HistoryPageQuery,
  viewer: ViewerVisibility,
): ReadableStream<Uint8Array> | undefined {
  const { after_id, before_id } = page;
  const edge = after_id ?? before_id;
  const at = edge === undefined ? undefined : transcript.messages.findMessage(edge);
  if (edge !== undefined && !at) return undefined;
  const pageOf = page.view === 'shown' || viewer.shouldHideTools ? readShownPage : readStoredPage;
  return createTextStream(formatPageJson(pageOf(transcript, at?.seq, page, viewer)));
}

function* formatPageJson({ bounds: ends, texts }: MessagePageTexts): Generator<string> {
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
function readStoredPage(
  transcript: Transcript,
  at: number | undefined = 0,
  { limit, before_id, pending = false }: HistoryPageQuery,
  viewer: ViewerVisibility,
): MessagePageTexts {
  const isBackwards = before_id !== undefined;
  const range = isBackwards ? { to: at - 1 } : { from: at + 1 };
  const rows = transcript.messages.readMessageIds({ ...range, isBackwards, pending, limit: limit + 1 });
  const { data, ...ends } = createPageResponse(rows, limit, isBackwards, ({ id }) => id);
  const [first, last] = [data[0], data.at(-1)];
  return {
    bounds: ends,
    texts: first && last ? formatStoredMessages(transcript, first.seq, last.seq, pending, viewer) : [],
  };
}

function readShownPage(
  transcript: Transcript,
  at: number | undefined,
  page: HistoryPageQuery,
  viewer: ViewerVisibility,
): MessagePageTexts {
  const { limit, before_id, pending = false } = page;
  const isBackwards = before_id !== undefined;
  const rows = findShownRanges(transcript, at, { isBackwards, pending, limit: limit + 1 });
  const { data, ...ends } = createPageResponse(rows, limit, isBackwards, ({ id }) => id);
  return { bounds: ends, texts: formatShownMessages(transcript, data, pending, viewer) };
}

export function* formatStoredMessages(
  transcript: Transcript,
  from: number,
  to: number,
  pending = false,
  viewer = FULL_VIEWER,
): Generator<string[]> {
  for (const row of readMessageRows(transcript, from, to, pending))
    yield [formatMessageJson({ ...row, ...getHiddenFields(viewer) })];
}

export function* formatShownMessages(
  transcript: Transcript,
  ranges: readonly ShownMessageRange[],
  pending = false,
  viewer = FULL_VIEWER,
  ids: ReadonlySet<string> = transcript.edgeCalls.ids,
): Generator<Iterable<string>> {
  /** Reads the messages between two answers of runs. */
  let rows: Iterator<MessageRow> | undefined;
  for (const [at, range] of ranges.entries()) {
    if (range.run !== null) rows = undefined;
    else if (!rows) {
      let end = at;
      while (ranges[end + 1]?.run === null) end += 1;
      rows = readMessageRows(transcript, range.from, ranges[end]?.to ?? range.to, pending);
    }
    yield formatShownRow(transcript, range, { pending, calls: ids, viewer, rows });
  }
}
