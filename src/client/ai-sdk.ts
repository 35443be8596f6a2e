/** `sluice/client/ai-sdk`: the Vercel AI SDK's `useChat` over conversations of the edge. */
import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai';
import type { Client } from './client.ts';
import type { SluiceError } from './errors.ts';
import type { ConversationMessage, MessageRequest, Page } from './requests.ts';
import type { MessageStream } from './stream.ts';
import { chunksOf } from './ui-chunks.ts';
import { contentOf, type SluiceMetadata, toUIMessages } from './ui-messages.ts';

export { type SluiceMetadata, toUIMessages } from './ui-messages.ts';

export interface SluiceChatOptions {
  /** What `createClient` of `sluice/client` has made. */
  client: Client;
  /** Fields of every request: `model`, `max_tokens`, `system`, `tools`, `prefix`, … A call's own `body` comes on top. */
  request?: Omit<Partial<MessageRequest>, 'messages' | 'conversation'>;
  /** The conversation of a chat; by default the chat's id is its id. */
  conversation?: (chatId: string) => string;
  /**
   * Whether what `stop()` aborts is stopped at the edge too (default), so that nothing more is paid for. A page that is
   * closed or reloaded aborts nothing; but `useChat` itself calls `stop()` when its component goes: a component that
   * shall come back to a running answer is given a `Chat` that lives longer than it does.
   */
  stopOnAbort?: boolean;
  /** Told when the edge could not be asked to stop: the turn may go on. By default it is a rejection that nobody handles. */
  onStopFailed?: (error: unknown) => void;
}

type Sending = Parameters<ChatTransport<UIMessage>['sendMessages']>[0];
type Resuming = Parameters<ChatTransport<UIMessage>['reconnectToStream']>[0];

/** What has been asked for in a chat. */
interface Asked {
  /** Sent messages whose answers are read now, and how many have been read. */
  open: number;
  read: number;
  /** Settles when none of those is read any more. */
  reading: Promise<unknown>;
  resumes: number;
  /** Settles when whatever was stopped has ended. */
  stopping: Promise<unknown>;
}

type Chunks = AsyncGenerator<UIMessageChunk<SluiceMetadata>, void, void>;

/**
 * A chat transport: the edge keeps the history, so only what is new is sent; lost connections are resumed by the client,
 * and a reload finds the running answer (`useChat({ id, messages: await loadMessages(client, id), resume: true })`).
 *
 * @example
 * const transport = createChatTransport({ client, request: { model: 'claude-haiku-5-5', max_tokens: 1000 } });
 * const { messages, sendMessage, stop } = useChat({ id: 'trip', transport });
 */
export function createChatTransport(options: SluiceChatOptions): ChatTransport<UIMessage> {
  const { client, request, stopOnAbort = true } = options;
  const conversationOf = options.conversation ?? ((chatId: string) => chatId);
  const chats = new Map<string, Asked>();

  function askedIn(chatId: string): Asked {
    const settled = Promise.resolve();
    const asked = chats.get(chatId) ?? { open: 0, read: 0, reading: settled, resumes: 0, stopping: settled };
    chats.set(chatId, asked);
    return asked;
  }

  /** Has a stream end with the signal: the turn is stopped too, unless the reading is only replaced by another. */
  function heed(asked: Asked, signal: AbortSignal | undefined, opening: Promise<MessageStream | null | undefined>) {
    let isOpen = false;
    const opened = opening
      .catch(() => undefined)
      .then((stream) => {
        isOpen = true;
        return stream;
      });
    const onAbort = () => {
      const { resumes } = asked;
      const stopping = new Promise((resolve) => setTimeout(resolve)).then(async () => {
        // A resume that takes a reading's place is asked for at once; otherwise somebody has stopped it.
        const isStopped = stopOnAbort && asked.resumes === resumes;
        const stream = await opened;
        try {
          if (isStopped) await stream?.stop();
        } finally {
          stream?.close();
        }
      });
      // A resume that is not answered yet keeps nobody waiting: perhaps nothing runs.
      if (isOpen) asked.stopping = Promise.allSettled([asked.stopping, stopping]);
      void stopping.catch(options.onStopFailed);
    };
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
  }

  return {
    // A running answer is told again from its first event.
    resumeStreamIsReplay: true,

    async sendMessages({ chatId, messages, trigger, messageId, abortSignal, headers, body }: Sending) {
      const asked = askedIn(chatId);
      const end = beginReading(asked);
      try {
        const conversation = conversationOf(chatId);
        const last = messages.at(-1);
        const isContinued = last?.role === 'assistant';
        // What was stopped just now must have ended: a conversation has one turn at a time.
        await Promise.race([asked.stopping, aborted(abortSignal)]);
        abortSignal?.throwIfAborted();
        if (!isContinued && (trigger === 'regenerate-message' || messageId !== undefined)) {
          await goBack(client, conversation, messages);
          abortSignal?.throwIfAborted();
        }
        const turn = {
          ...request,
          ...body,
          conversation,
          messages: [{ role: 'user' as const, content: contentOf(messages) }],
        };
        const stream = client.messages.stream(turn, { headers: Object.fromEntries(new Headers(headers)) });
        heed(asked, abortSignal, Promise.resolve(stream));
        // What is refused is the hook's error at once, with its type.
        if (!(await stream.opened())) await stream.finalMessage();
        const before = isContinued ? ((last.metadata ?? {}) as SluiceMetadata) : undefined;
        return streamOf(chunksOf(stream, before), () => end(true));
      } catch (thrown) {
        end(false);
        throw thrown;
      }
    },

    async reconnectToStream({ chatId, abortSignal }: Resuming) {
      const asked = askedIn(chatId);
      asked.resumes += 1;
      const { read } = asked;
      const opening = client.conversations.resume(conversationOf(chatId)).catch(unlessUnknown);
      heed(asked, abortSignal, opening);
      const [resumed] = await Promise.allSettled([opening]);
      // Beside a message that was sent meanwhile, any answer here would take the place of that one's reading, which is
      // what `stop()` has to reach, or be shown as its end: also that nothing runs.
      while (asked.open > 0 && !abortSignal?.aborted) await Promise.race([asked.reading, aborted(abortSignal)]);
      if (abortSignal?.aborted) return null;
      const stream = resumed.status === 'fulfilled' ? resumed.value : undefined;
      if (asked.read !== read) {
        stream?.close();
        return null;
      }
      if (resumed.status === 'rejected') throw resumed.reason;
      return stream ? streamOf(chunksOf(stream)) : null;
    },
  };
}

/**
 * @returns a conversation's messages for `useChat`, with the question of a turn that runs; none if there is no such one
 */
export async function loadMessages(client: Client, conversation: string): Promise<UIMessage<SluiceMetadata>[]> {
  return toUIMessages(await rowsOf(client, conversation));
}

/** What is asked again or differently takes the place of what was asked: the history goes back to before it. */
async function goBack(client: Client, conversation: string, messages: readonly UIMessage[]): Promise<void> {
  const rows = await rowsOf(client, conversation);
  const answer = messages.findLast(({ role }) => role === 'assistant');
  // An answer may be several rows: what its tools gave is no question.
  const known = toUIMessages(rows);
  const from = answer === undefined ? 0 : known.findIndex(({ id }) => id === answer.id) + 1;
  const question = known.slice(from).find(({ role }) => role === 'user');
  if (question) await client.conversations.rewind(conversation, question.id);
}

async function rowsOf(client: Client, conversation: string): Promise<ConversationMessage[]> {
  const rows: ConversationMessage[] = [];
  let page: Page<ConversationMessage> | undefined;
  do {
    const place = page?.last_id ? { after_id: page.last_id } : {};
    page = await client.conversations
      .messages(conversation, { limit: 1_000, pending: true, ...place })
      .catch(unlessUnknown);
    rows.push(...(page?.data ?? []));
  } while (page?.has_more);
  return rows;
}

/** @returns what is called once its answer has been read, or never will be */
function beginReading(asked: Asked): (wasRead: boolean) => void {
  let end = () => {};
  let ended = false;
  const reading = new Promise<void>((resolve) => {
    end = resolve;
  });
  asked.open += 1;
  asked.reading = Promise.all([asked.reading, reading]);
  return (wasRead) => {
    if (ended) return;
    ended = true;
    asked.open -= 1;
    if (wasRead) asked.read += 1;
    end();
  };
}

/** Settles once the signal says so; without one never. */
function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A chat that has not begun is no conversation yet. */
function unlessUnknown(thrown: unknown): undefined {
  if (!(thrown instanceof Error && (thrown as SluiceError).status === 404)) throw thrown;
}

/** @param onEnd told once nothing more is read */
function streamOf(chunks: Chunks, onEnd: () => void = () => {}): ReadableStream<UIMessageChunk> {
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      try {
        const { value, done } = await chunks.next();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (thrown) {
        controller.error(thrown);
      }
      onEnd();
    },
    async cancel() {
      onEnd();
      await chunks.return(undefined);
    },
  });
}
