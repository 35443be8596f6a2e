import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { FILE_ROUTES } from './files.route.ts';
import { deletedFileAnswer, fileAnswer, fileListAnswer } from './files-answers.schema.ts';

const ID = 'file_011CNha8iCJcU1wXNR6q4V8w';
const schema = z.addReferenceMeta(fileAnswer, { id: 'File' });
const example = {
  type: 'file',
  id: ID,
  filename: 'report.pdf',
  mime_type: 'application/pdf',
  size_bytes: 102_400,
  created_at: '2026-11-20T10:00:00Z',
  downloadable: false,
  expires_at: null,
};
const page = { data: [example], has_more: false, first_id: ID, last_id: ID, next_page: null };
const form = z.addDescription(
  z.object({
    file: z.addDescription(
      z.string(),
      'The content of the file, with its name and media type in the header of the form part.',
    ),
    expires_in_seconds: z.createOptionalField(
      z.int(),
      'After how many seconds the upstream deletes the file. Default: never.',
    ),
  }),
  'The form fields.',
);

export const files: ApiResource = {
  tag: 'Files',
  description: 'Files for messages, as in the Claude API. Each file belongs to the account that uploaded it.',
  parameters: { id: { description: 'The id of the file.', example: ID } },
  errors: [404, 429, 504, 529],
  routes: describeRoutes(FILE_ROUTES, {
    'POST /v1/files': {
      operation: 'uploadFile',
      summary: 'Upload a file',
      body: { type: 'multipart/form-data', schema: form, example: { file: 'the bytes of the file' } },
      answer: describeJsonResponse('The file.', schema, example),
      errors: [413, 429, 504, 529],
    },
    'GET /v1/files': {
      operation: 'listFiles',
      summary: 'List files',
      answer: describeJsonResponse(
        'A page of the files, newest first.',
        z.addReferenceMeta(fileListAnswer, { id: 'FileList' }),
        page,
      ),
      errors: [429],
    },
    'GET /v1/files/:id': {
      operation: 'getFile',
      summary: 'Retrieve a file’s metadata',
      answer: describeJsonResponse('The file.', schema, example),
    },
    'GET /v1/files/:id/content': {
      operation: 'downloadFile',
      summary: 'Download a file that a tool created',
      answer: {
        description: 'The content of the file.',
        content: [{ type: 'application/octet-stream', schema: z.string(), example: 'the bytes' }],
      },
    },
    'DELETE /v1/files/:id': {
      operation: 'deleteFile',
      summary: 'Delete a file',
      answer: describeJsonResponse(
        'Confirms the deletion.',
        z.addReferenceMeta(deletedFileAnswer, { id: 'DeletedFile' }),
        {
          type: 'file_deleted',
          id: ID,
        },
      ),
    },
  }),
};
