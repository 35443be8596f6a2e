import {
  conversationId,
  createConversationResponseReference,
  messageExample,
  reportExample,
} from '../../conversations/object/conversations.reference.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonLinesContent } from '../../openapi/responses.ts';
import { TRANSFER_ROUTES } from './transfer.route.ts';
import { forkRequest } from './transfer.schema.ts';

export const transfers: ApiResource = {
  tag: 'Conversations',
  parameters: { id: conversationId },
  errors: [503],
  routes: describeRoutes(TRANSFER_ROUTES, {
    'GET /conversations/:id/export': {
      operation: 'exportConversation',
      summary: 'Export a conversation',
      answer: {
        description:
          'JSON lines: the conversation, its messages, and a last line that confirms that the export is complete.',
        content: [describeJsonLinesContent([reportExample, messageExample, { type: 'end', messages: 1 }])],
      },
    },
    'POST /conversations/:id/fork': {
      operation: 'forkConversation',
      summary: 'Fork a conversation',
      body: { schema: forkRequest, example: { id: 'trip-by-boat' } },
      answers: { 201: createConversationResponseReference('The copy.') },
      errors: [409, 429, 503],
    },
  }),
};
