/** `sluice/client/ai-sdk`: the Vercel AI SDK's `useChat` over conversations of the edge. */
import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai';
import type { Client } from './client.ts';
import { SluiceError } from './errors.ts';
import type { Approval, ConversationMessage, MessageRequest, Page } from './requests.ts';
import type { MessageStream } from './stream.ts';
import { streamToUiChunks } from './ui-chunks.ts';
import {
  buildNextMessageContent,
  collectToolCallIds,
  isToolPart,
  markCallsAwaitingApproval,
  type SluiceMetadata,
  toUIMessages,
} from './ui-messages.ts';

export { type SluiceMetadata, toUIMessages } from './ui-messages.ts';

/** Options of a chat transport. */
export interface SluiceChatOptions {
  /** A client, made by `createClient` of `sluice/client`. */
  client: Client;
  /** Fields of every request: `model`, `max_tokens`, `system`, `tools`, `prefix`, … The `body` of a call overrides them. */
  request?: Omit<Partial<MessageRequest>, 'messages' | 'conversation'>;
  /** Gives the id of a chat's conversation. Default: the chat's id. */
  conversation?: (chatId: string) => string;
  /**
   * Whether `stop()` also stops the turn at the edge, so that nothing more is billed. Default true. Closing or reloading the
   * page stops nothing, unless the transport is on a server that hands it the signal of the page's request. And `useChat` calls
   * `stop()` when its component is removed. If the answer should continue then, give the component a `Chat` that lives longer
   * than it does.
   */
  stopOnAbort?: boolean;
  /** Called if the edge could not be asked to stop, so that the turn may continue. Default: an unhandled rejection. */
  onStopFailed?: (error: unknown) => void;
}

type SendMessagesOptions = Parameters<ChatTransport<UIMessage>['sendMessages']>[0];
type ReconnectToStreamOptions = Parameters<ChatTransport<UIMessage>['reconnectToStream']>[0];

interface ChatReadState {
  /** How many sent messages have an answer that is being read. */
  open: number;
  /** How many answers have been read. */
  read: number;
  /** The latest answer that was not read to its end, and not stopped. */
  unread: MessageStream | undefined;
  /** How many sent messages got no answer. */
  failed: number;
  /** Settles when no answer is being read any more. */
  reading: Promise<unknown>;
  /** How often a resume was asked for. */
  resumes: number;
  /** Settles when all turns that were stopped have ended. */
  stopping: Promise<unknown>;
}

/** The turns of questions that had no answer yet when their history was loaded. They may have ended before a resume. */
const unansweredTurns = new WeakMap<Client, Map<string, string>>();

type ChunkGenerator = AsyncGenerator<UIMessageChunk<SluiceMetadata>, void, void>;

/**
 * Makes a chat transport. The edge keeps the history, so only new messages are sent. The client resumes lost connections,
 * and a reload finds the running answer (`useChat({ id, messages: await loadMessages(client, id), resume: true })`).
 *
 * @example
 * import { Chat } from '@ai-sdk/react'; // then, in a component, `useChat({ chat, resume: true })`
 * const transport = createChatTransport({ client: sluice, request: { model, max_tokens: 4_096 } });
 * const chat = new Chat({ id: 'trip', transport, messages: await loadMessages(sluice, 'trip') });
 * await chat.sendMessage({ text: 'And then?' });
 * show(chat.messages.at(-1)?.parts);
 */
export function createChatTransport(options: SluiceChatOptions): ChatTransport<UIMessage> {
  const { client, request, stopOnAbort = true } = options;
  const conversationOf = options.conversation ?? ((chatId: string) => chatId);
  const chats = new Map<string, ChatReadState>();

  function getChatState(chatId: string): ChatReadState {
    const settled = Promise.resolve();
    const state = chats.get(chatId) ?? {
      open: 0,
      read: 0,
      unread: undefined,
      failed: 0,
      reading: settled,
      resumes: 0,
      stopping: settled,
    };
    chats.set(chatId, state);
    return state;
  }

  /** Ends a stream when the signal is aborted, and stops its turn, unless a resume is about to replace the stream. */
  function stopTurnOnAbort(
    state: ChatReadState,
    signal: AbortSignal | undefined,
    opening: Promise<MessageStream | null | undefined>,
  ) {
    let isOpen = false;
    const opened = opening
      .catch(() => undefined)
      .then((stream) => {
        isOpen = true;
        return stream;
      });
    const onAbort = () => {
      const { resumes } = state;
      const stopping = new Promise((resolve) => setTimeout(resolve)).then(async () => {
        // `useChat` aborts a stream both when the user stops it and when a resume replaces it. A resume follows immediately, so
        // if there is none by now, the user stopped the answer.
        const isStopped = stopOnAbort && state.resumes === resumes;
        const stream = await opened;
        try {
          if (isStopped && state.unread === stream) state.unread = undefined;
          if (isStopped) await stream?.stop();
        } finally {
          stream?.close();
        }
      });
      // Before the stream is open there may be no running turn, so later messages need not wait for the stop.
      if (isOpen) state.stopping = Promise.allSettled([state.stopping, stopping]);
      void stopping.catch(options.onStopFailed);
    };
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
  }

  return {
    // A resumed stream begins with the first event of the answer, so the hook must replace the displayed answer.
    resumeStreamIsReplay: true,

    async sendMessages({ chatId, messages, trigger, messageId, abortSignal, headers, body }: SendMessagesOptions) {
      const state = getChatState(chatId);
      const end = trackAnswerReading(state);
      try {
        const conversation = conversationOf(chatId);
        unansweredTurns.get(client)?.delete(conversation);
        const last = messages.at(-1);
        const isContinued = last?.role === 'assistant';
        // A turn that was just stopped must end first, because a conversation runs one turn at a time.
        await Promise.race([state.stopping, waitForAbort(abortSignal)]);
        abortSignal?.throwIfAborted();
        if (!isContinued && (trigger === 'regenerate-message' || messageId !== undefined)) {
          await rewindToQuestion(client, conversation, messages);
          abortSignal?.throwIfAborted();
        }
        const continued = isContinued ? last : undefined;
        const readWaitingApprovals = () => listWaitingApprovals(client, conversation);
        const decided = continued?.parts.filter(isDecided) ?? [];
        if (decided.length > 0) {
          const opening = sendDecisions(client, conversation, decided);
          stopTurnOnAbort(state, abortSignal, opening);
          const run = await opening;
          state.unread = run;
          return toReadableStream(streamToUiChunks(run, { continued, readWaitingApprovals }), (isWhole) => {
            forgetFullyReadStream(state, run, isWhole);
            end(true);
          });
        }
        const turn = {
          ...request,
          ...body,
          conversation,
          messages: [{ role: 'user' as const, content: buildNextMessageContent(messages) }],
        };
        const stream = client.messages.stream(turn, { headers: Object.fromEntries(new Headers(headers)) });
        state.unread = stream;
        stopTurnOnAbort(state, abortSignal, Promise.resolve(stream));
        // Throw a rejected request's error from here, so that the hook gets the typed error immediately.
        if (!(await stream.opened())) await stream.finalMessage();
        return toReadableStream(streamToUiChunks(stream, { continued, readWaitingApprovals }), (isWhole) => {
          forgetFullyReadStream(state, stream, isWhole);
          end(true);
        });
      } catch (thrown) {
        end(false);
        throw thrown;
      }
    },

    async reconnectToStream({ chatId, abortSignal }: ReconnectToStreamOptions) {
      const state = getChatState(chatId);
      state.resumes += 1;
      const { read, failed } = state;
      const conversation = conversationOf(chatId);
      // If no answer is being read, the last one may have ended and its events may have expired. Name its turn, so that it is
      // then read from the history.
      const unread = state.open > 0 ? undefined : state.unread?.turn;
      const turn = unansweredTurns.get(client)?.get(conversation) ?? unread;
      const opening = client.conversations.resume(conversation, { ifAbsent: 'empty', turn }).catch(ignoreMissingTurn);
      stopTurnOnAbort(state, abortSignal, opening);
      const [resumed] = await Promise.allSettled([opening]);
      // If a message was sent in the meantime, wait until its answer is read: the hook would take the result of this resume,
      // even null, for the end of that answer, and `stop()` would no longer reach it.
      while (state.open > 0 && !abortSignal?.aborted) await Promise.race([state.reading, waitForAbort(abortSignal)]);
      if (abortSignal?.aborted) return null;
      const stream = resumed.status === 'fulfilled' ? resumed.value : undefined;
      if (state.read !== read) {
        stream?.close();
        return null;
      }
      if (resumed.status === 'rejected') throw resumed.reason;
      if (stream) {
        const readWaitingApprovals = () => listWaitingApprovals(client, conversation);
        const findMessageWithCall = async (call: string) => {
          // If the turn has ended meanwhile, its rows are in the history, too. Leave them out, because this stream shows them.
          const earlier = (await readConversationMessages(client, conversation)).filter(
            (row) => row.turn !== stream.turn,
          );
          return toUIMessages(earlier).findLast((message) => collectToolCallIds(message).has(call));
        };
        state.unread = stream;
        return toReadableStream(
          streamToUiChunks(stream, { shownWith: findMessageWithCall, readWaitingApprovals }),
          (isWhole) => {
            forgetFullyReadStream(state, stream, isWhole);
            if (isWhole) unansweredTurns.get(client)?.delete(conversation);
          },
        );
      }
      // The hook shows the error of the message that failed meanwhile. Do not return yet, because null would clear that error.
      if (state.failed !== failed) await waitForAbort(abortSignal);
      return null;
    },
  };
}

/**
 * Loads a conversation's messages for `useChat`, also the question of a running turn.
 *
 * @returns no messages for an unknown conversation
 * @example show(await loadMessages(sluice, 'trip'));
 */
export async function loadMessages(client: Client, conversation: string): Promise<UIMessage<SluiceMetadata>[]> {
  const rows = await readConversationMessages(client, conversation);
  const last = rows.at(-1);
  const turns = unansweredTurns.get(client) ?? new Map<string, string>();
  unansweredTurns.set(client, turns);
  if (last?.role === 'user') turns.set(conversation, last.turn);
  else turns.delete(conversation);
  const messages = toUIMessages(rows);
  if (messages.at(-1)?.metadata?.paused === 'approval')
    markCallsAwaitingApproval(messages, await listWaitingApprovals(client, conversation));
  return messages;
}

/** Reads the calls on which this account may decide. @returns none for a token that decides on no calls */
async function listWaitingApprovals(client: Client, conversation: string): Promise<Approval[]> {
  const { data } = await client.conversations.approvals(conversation).catch((thrown: unknown) => {
    if (!(thrown instanceof Error && (thrown as SluiceError).status === 403)) throw thrown;
    return { data: [] };
  });
  return data.filter(({ approvers }) => approvers === 'owner');
}

type DecidedPart = Extract<UIMessage['parts'][number], { state: 'approval-responded' }>;

function isDecided(part: UIMessage['parts'][number]): part is DecidedPart {
  return isToolPart(part) && part.state === 'approval-responded';
}

/**
 * Sends the decisions to the edge, and follows the run that continues.
 *
 * @throws SluiceError `conflict_error` if another call still waits, or a call was decided differently
 */
async function sendDecisions(
  client: Client,
  conversation: string,
  decided: readonly DecidedPart[],
): Promise<MessageStream> {
  let turn: string | null = null;
  for (const { approval } of decided) {
    const { approved, reason } = approval;
    const why = reason ? { reason } : {};
    const decision = approved ? { decision: 'approve' as const } : { decision: 'deny' as const, ...why };
    const next = await client.conversations.approve(conversation, approval.id, decision);
    turn = next.type === 'turn' ? next.id : next.continued_by;
  }
  const stream = turn === null ? null : await client.conversations.resume(conversation, { turn });
  if (stream) return stream;
  throw new SluiceError('conflict_error', 'Another call still waits for a decision. Load the conversation again.');
}

/** Rewinds the conversation to before the question that is asked again or changed. */
async function rewindToQuestion(client: Client, conversation: string, messages: readonly UIMessage[]): Promise<void> {
  const rows = await readConversationMessages(client, conversation);
  // `toUIMessages` joins the rows of one answer, of which those with only tool results are no questions.
  const stored = toUIMessages(rows);
  let from = 0;
  for (const { role, id } of messages) {
    // Search only after the previous match, so that an id that occurs twice never leads back to an earlier answer.
    if (role === 'assistant') from = stored.findIndex((one, at) => at >= from && one.id === id) + 1 || from;
  }
  const question = stored.slice(from).find(({ role }) => role === 'user');
  if (question) await client.conversations.rewind(conversation, question.id);
}

async function readConversationMessages(client: Client, conversation: string): Promise<ConversationMessage[]> {
  const rows: ConversationMessage[] = [];
  let page: Page<ConversationMessage> | undefined;
  do {
    const place = page?.last_id ? { after_id: page.last_id } : {};
    // A chat without messages has no conversation yet, so ask for an empty list instead of a 404.
    const query = { limit: 1_000, pending: true, view: 'shown', if_absent: 'empty', ...place } as const;
    page = await client.conversations.messages(conversation, query).catch(ignoreMissingTurn);
    rows.push(...(page?.data ?? []));
  } while (page?.has_more);
  return rows;
}

/** Records that an answer is being read. @returns a function to call when that ends; `wasRead` if it was read to its end */
function trackAnswerReading(state: ChatReadState): (wasRead: boolean) => void {
  let endReading = () => {};
  let ended = false;
  const reading = new Promise<void>((resolve) => {
    endReading = resolve;
  });
  state.open += 1;
  state.reading = Promise.all([state.reading, reading]);
  return (wasRead) => {
    if (ended) return;
    ended = true;
    state.open -= 1;
    if (wasRead) state.read += 1;
    else state.failed += 1;
    endReading();
  };
}

/** Forgets an answer that was read to its end: a resume need not read it again. */
function forgetFullyReadStream(state: ChatReadState, stream: MessageStream, isWhole: boolean): void {
  if (isWhole && state.unread === stream) state.unread = undefined;
}

function waitForAbort(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Handles a 404, which an edge answers that does not know `if_absent` yet, and a 410: the turn ended long ago. */
function ignoreMissingTurn(thrown: unknown): undefined {
  const { status } = thrown as SluiceError;
  if (!(thrown instanceof Error && (status === 404 || status === 410))) throw thrown;
}

/** @param onEnd called when reading ends. `isWhole` is true if all chunks were read */
function toReadableStream(chunks: ChunkGenerator, onEnd: (isWhole: boolean) => void): ReadableStream<UIMessageChunk> {
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      try {
        const { value, done } = await chunks.next();
        if (!done) return controller.enqueue(value);
        controller.close();
        onEnd(true);
      } catch (thrown) {
        controller.error(thrown);
        onEnd(false);
      }
    },
    async cancel() {
      onEnd(false);
      await chunks.return(undefined);
    },
  });
}
