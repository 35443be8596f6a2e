import * as z from '../kit/http/zod.ts';
import type { BodyContent } from './resource.ts';

const events = `event: message_start
data: {"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":13,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"I am Claude."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

: sluice-budget-used=0.0341
: sluice-budget-fits=true
: sluice-cost-usd=0.0000038
`;

export const eventStream: BodyContent = {
  type: 'text/event-stream',
  schema: z.addReferenceMeta(z.string(), {
    id: 'EventStream',
    description: 'Server-sent events, as in Anthropic’s API.',
  }),
  example: events,
};
