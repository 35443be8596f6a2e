import { type AnthropicProviderSettings, createAnthropic } from '@ai-sdk/anthropic';
import { generateText, type ModelMessage, streamText } from 'ai';
import {
  generateText as generateTextBy6,
  type ModelMessage as ModelMessageOf6,
  streamText as streamTextBy6,
} from 'ai-6';
import { createAnthropic as createAnthropicOf3 } from 'ai-sdk-anthropic-3';

/** The settings of a provider that both of its versions have. */
type Settings = Pick<AnthropicProviderSettings, 'baseURL' | 'headers' | 'fetch'>;

interface Options {
  system?: string;
  temperature?: number;
  maxOutputTokens: number;
}

interface Streamed<Message> {
  text: PromiseLike<string>;
  content: PromiseLike<{ type: string }[]>;
  usage: PromiseLike<object & { raw?: unknown }>;
  response: PromiseLike<{ messages: Message[] }>;
}

/** A chat that sends its whole history with each question. */
interface Chat {
  say(question: string): Promise<Said>;
  /** Reads the answer to the last question from another response, which comes behind the one before. */
  follow(fetch: Settings['fetch']): Promise<Said>;
}

interface Said {
  text: string;
  content: unknown[];
  usage: object & { raw?: unknown };
}

interface Asking<Message> {
  stream(messages: Message[], fetch?: Settings['fetch']): Streamed<Message>;
  question(content: string): Message;
  errors: readonly unknown[];
}

function chatBy<Message>({ stream, question, errors }: Asking<Message>): Chat {
  const history: Message[] = [];
  let last: Message[] = [];
  const read = async (streamed: Streamed<Message>): Promise<Said> => {
    const [text, content, usage, { messages }] = await Promise.all([
      ...([streamed.text, streamed.content, streamed.usage, streamed.response] as const),
    ]);
    if (errors.length > 0) throw errors[0];
    history.push(...messages);
    // Version 4 of the provider reports the beginning of the message, too.
    return { text, content: content.filter(({ type }) => type !== 'custom'), usage };
  };
  return {
    say: async (content) => {
      last = [question(content)];
      history.push(...last);
      return await read(stream([...history]));
    },
    follow: async (fetch) => await read(stream(last, fetch)),
  };
}

interface AiSdk {
  generate(settings: Settings, model: string, options: Options & { prompt: string }): PromiseLike<{ text: string }>;
  chat(settings: Settings, model: string, options: Options): Chat;
}

const apiKey = 'any';

/** The AI SDKs that a client may have, each with the version of `@ai-sdk/anthropic` that belongs to it. */
export const AI_SDKS: readonly (readonly [name: string, sdk: AiSdk])[] = [
  [
    'AI SDK 7',
    {
      generate: (settings, model, options) =>
        generateText({ ...options, model: createAnthropic({ ...settings, apiKey })(model) }),
      chat: (settings, model, options) => {
        const errors: unknown[] = [];
        return chatBy<ModelMessage>({
          errors,
          question: (content) => ({ role: 'user', content }),
          stream: (messages, fetch = settings.fetch) =>
            streamText({
              ...options,
              messages,
              maxRetries: 0,
              model: createAnthropic({ ...settings, apiKey, ...(fetch && { fetch }) })(model),
              onError: ({ error }) => void errors.push(error),
            }),
        });
      },
    },
  ],
  [
    'AI SDK 6',
    {
      generate: (settings, model, options) =>
        generateTextBy6({ ...options, model: createAnthropicOf3({ ...settings, apiKey })(model) }),
      chat: (settings, model, options) => {
        const errors: unknown[] = [];
        return chatBy<ModelMessageOf6>({
          errors,
          question: (content) => ({ role: 'user', content }),
          stream: (messages, fetch = settings.fetch) =>
            streamTextBy6({
              ...options,
              messages,
              maxRetries: 0,
              model: createAnthropicOf3({ ...settings, apiKey, ...(fetch && { fetch }) })(model),
              onError: ({ error }) => void errors.push(error),
            }),
        });
      },
    },
  ],
];
