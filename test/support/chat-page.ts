/** A chat in a real React tree: what a frontend developer writes, and ways to look at it. */
import { useChat } from '@ai-sdk/react';
import { lastAssistantMessageIsCompleteWithToolCalls, type UIMessage } from 'ai';
import { createElement as h, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { createChatTransport, loadMessages } from '#client/ai-sdk.ts';
import { createClient, type EdgeTool, SluiceError } from '#client/index.ts';

const asked = new URLSearchParams(location.search);
const id = asked.get('id') ?? 'chat';
const client = createClient({
  baseURL: asked.get('edge') ?? '',
  headers: { 'sluice-simulate': asked.get('simulate') ?? '' },
});
/** Tools of the edge, in place of the page's own. */
const edgeTools = JSON.parse(asked.get('tools') ?? 'null') as EdgeTool[] | null;
const weather = {
  name: 'get_weather',
  description: 'Current weather of a city',
  input_schema: { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] },
};
const transport = createChatTransport({
  client,
  request: {
    model: 'claude-haiku-4-5',
    max_tokens: Number(asked.get('max_tokens') ?? 2_000),
    tools: edgeTools ?? [weather],
  },
});
const picture =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

function Chat({ initial }: { initial: UIMessage[] }) {
  const chat = useChat({
    id,
    messages: initial,
    transport,
    resume: true,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall({ toolCall }) {
      const { city } = toolCall.input as { city: string };
      void chat.addToolOutput({ tool: 'get_weather', toolCallId: toolCall.toolCallId, output: { city, sky: 'blue' } });
    },
  });
  const { messages, status, error } = chat;
  const send = (data: FormData) => {
    const files = data.get('picture') ? [{ type: 'file' as const, mediaType: 'image/png', url: picture }] : [];
    void chat.sendMessage({ text: String(data.get('text')), files });
  };
  return h(
    'main',
    { 'data-status': status, 'data-error': error instanceof SluiceError ? error.type : (error?.message ?? '') },
    messages.map(({ id: key, role, parts, metadata }) =>
      h(
        'article',
        { key, className: role, 'data-metadata': JSON.stringify(metadata ?? null) },
        parts.map((part, index) => {
          const shown = part.type === 'text' || part.type === 'reasoning' ? part.text : JSON.stringify(part);
          return h('p', { key: index, className: part.type }, shown);
        }),
      ),
    ),
    h('form', { action: send }, h('input', { name: 'text' }), h('input', { name: 'picture', type: 'checkbox' })),
    h('button', { type: 'button', id: 'stop', onClick: () => void chat.stop() }, 'Stop'),
    h('button', { type: 'button', id: 'again', onClick: () => void chat.regenerate() }, 'Again'),
  );
}

const initial = await loadMessages(client, id);
createRoot(document.body).render(h(StrictMode, null, h(Chat, { initial })));
