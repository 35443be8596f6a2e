/**
 * Written by test/api-rules/request-types.test.ts from the types of @anthropic-ai/sdk. Do not edit it. After an update of the SDK,
 * run `npx vitest run test/api-rules/request-types.test.ts --update`. field-types.ts explains the notation.
 */

import type { TypeTable } from './field-types.ts';
import { TOOL_TYPES } from './tool-types.ts';

export const REQUEST_TYPES: TypeTable = {
  ...TOOL_TYPES,
  MessageCreateParams: {
    max_tokens: 'integer',
    messages: '[MessageParam]',
    model: 'string',
    billing_policy: 'BillingPolicy|null',
    cache_control: 'CacheControlEphemeral|null',
    compaction: 'CompactionConfig|null',
    container: 'ContainerParams|string|null',
    context_management: 'ContextManagementConfig|null',
    diagnostics: 'DiagnosticsParam|null',
    fallback_credit_token: 'string|FallbackCreditTokenParam|null',
    fallbacks: '[FallbackParam]|"default"|null',
    inference_geo: 'string|null',
    mcp_servers: '[RequestMCPServerURLDefinition]',
    metadata: 'Metadata',
    output_config: 'OutputConfig',
    output_format: 'JSONOutputFormat|null',
    service_tier: '"auto"|"standard_only"',
    speed: '"standard"|"fast"|null',
    stop_sequences: '[string]',
    stream: 'boolean',
    system: 'string|[TextBlockParam]',
    thinking: 'ThinkingConfigParam',
    thread: 'ThreadCreateParams|ThreadContinueParams|null',
    tool_choice: 'ToolChoice',
    tools: '[ToolUnion]',
    user_profile_id: 'string',
    workspace_id: 'string',
  },
  MessageParam: {
    content: 'string|[ContentBlockParam]',
    role: '"user"|"assistant"|"system"',
    clear_at: '"next_user_message"|"never"|null',
    output_config: 'SystemMessageOutputConfig|null',
  },
  TextBlockParam: {
    text: 'string',
    type: '"text"',
    cache_control: 'CacheControlEphemeral|null',
    citations: '[TextCitationParam]|null',
  },
  CitationCharLocationParam: {
    cited_text: 'string',
    document_index: 'integer',
    document_title: 'string|null',
    end_char_index: 'integer',
    start_char_index: 'integer',
    type: '"char_location"',
  },
  CitationPageLocationParam: {
    cited_text: 'string',
    document_index: 'integer',
    document_title: 'string|null',
    end_page_number: 'integer',
    start_page_number: 'integer',
    type: '"page_location"',
  },
  CitationContentBlockLocationParam: {
    cited_text: 'string',
    document_index: 'integer',
    document_title: 'string|null',
    end_block_index: 'integer',
    start_block_index: 'integer',
    type: '"content_block_location"',
  },
  CitationWebSearchResultLocationParam: {
    cited_text: 'string',
    encrypted_index: 'string',
    title: 'string|null',
    type: '"web_search_result_location"',
    url: 'string',
  },
  CitationSearchResultLocationParam: {
    cited_text: 'string',
    end_block_index: 'integer',
    search_result_index: 'integer',
    source: 'string',
    start_block_index: 'integer',
    title: 'string|null',
    type: '"search_result_location"',
  },
  TextCitationParam:
    'CitationCharLocationParam|CitationPageLocationParam|CitationContentBlockLocationParam|CitationWebSearchResultLocationParam|CitationSearchResultLocationParam',
  ImageBlockParam: {
    source: 'Base64ImageSource|URLImageSource|FileImageSource',
    type: '"image"',
    cache_control: 'CacheControlEphemeral|null',
    transformations: 'ImageTransformationsParam|null',
  },
  Base64ImageSource: {
    data: 'string',
    media_type: '"image/jpeg"|"image/png"|"image/gif"|"image/webp"',
    type: '"base64"',
  },
  URLImageSource: {
    type: '"url"',
    url: 'string',
  },
  FileImageSource: {
    file_id: 'string',
    type: '"file"',
  },
  ImageTransformationsParam: {
    oversized_image: '"downsize"|"error"',
  },
  RequestDocumentBlock: {
    source: 'Base64PDFSource|PlainTextSource|ContentBlockSource|URLPDFSource|FileDocumentSource',
    type: '"document"',
    cache_control: 'CacheControlEphemeral|null',
    citations: 'CitationsConfigParam|null',
    context: 'string|null',
    title: 'string|null',
  },
  Base64PDFSource: {
    data: 'string',
    media_type: '"application/pdf"',
    type: '"base64"',
  },
  PlainTextSource: {
    data: 'string',
    media_type: '"text/plain"',
    type: '"text"',
  },
  ContentBlockSource: {
    content: 'string|[TextBlockParam|ImageBlockParam]',
    type: '"content"',
  },
  URLPDFSource: {
    type: '"url"',
    url: 'string',
  },
  FileDocumentSource: {
    file_id: 'string',
    type: '"file"',
  },
  SearchResultBlockParam: {
    content: '[TextBlockParam]',
    source: 'string',
    title: 'string',
    type: '"search_result"',
    cache_control: 'CacheControlEphemeral|null',
    citations: 'CitationsConfigParam',
  },
  ThinkingBlockParam: {
    signature: 'string',
    thinking: 'string',
    type: '"thinking"',
  },
  RedactedThinkingBlockParam: {
    data: 'string',
    type: '"redacted_thinking"',
  },
  ToolUseBlockParam: {
    id: 'string',
    input: 'any',
    name: 'string',
    type: '"tool_use"',
    cache_control: 'CacheControlEphemeral|null',
    caller: 'DirectCaller|ServerToolCaller|ServerToolCaller20260120',
    toolset_name: 'string|null',
  },
  DirectCaller: {
    type: '"direct"',
  },
  ServerToolCaller: {
    tool_id: 'string',
    type: '"code_execution_20250825"',
  },
  ServerToolCaller20260120: {
    tool_id: 'string',
    type: '"code_execution_20260120"',
  },
  ToolResultBlockParam: {
    tool_use_id: 'string',
    type: '"tool_result"',
    cache_control: 'CacheControlEphemeral|null',
    content:
      'string|[TextBlockParam|ImageBlockParam|SearchResultBlockParam|RequestDocumentBlock|ToolReferenceBlockParam|BrowserStateBlockParam]',
    is_error: 'boolean',
    toolset_name: 'string|null',
  },
  ToolReferenceBlockParam: {
    tool_name: 'string',
    type: '"tool_reference"',
    cache_control: 'CacheControlEphemeral|null',
  },
  BrowserStateBlockParam: {
    tabs: '[BrowserStateTabEntry]',
    type: '"browser_state"',
    cache_control: 'CacheControlEphemeral|null',
    state_changes: '[BrowserStateChange]|null',
  },
  BrowserStateTabEntry: {
    tab_id: 'string',
    title: 'string',
    url: 'string',
    active: 'boolean',
  },
  BrowserStateChangeTabOpened: {
    tab_id: 'string',
    type: '"tab_opened"',
  },
  BrowserStateChangeDownloadStarted: {
    download_id: 'string',
    type: '"download_started"',
    url: 'string',
  },
  BrowserStateChangeDownloadCompleted: {
    download_id: 'string',
    type: '"download_completed"',
    url: 'string',
    path: 'string|null',
    size_bytes: 'integer|null',
  },
  BrowserStateChangeDownloadFailed: {
    download_id: 'string',
    type: '"download_failed"',
    url: 'string',
    error: 'string|null',
  },
  BrowserStateChange:
    'BrowserStateChangeTabOpened|BrowserStateChangeDownloadStarted|BrowserStateChangeDownloadCompleted|BrowserStateChangeDownloadFailed',
  ServerToolUseBlockParam: {
    id: 'string',
    input: 'any',
    name: '"advisor"|"web_search"|"web_fetch"|"code_execution"|"bash_code_execution"|"text_editor_code_execution"|"tool_search_tool_regex"|"tool_search_tool_bm25"',
    type: '"server_tool_use"',
    cache_control: 'CacheControlEphemeral|null',
    caller: 'DirectCaller|ServerToolCaller|ServerToolCaller20260120',
  },
  WebSearchToolResultBlockParam: {
    content: '[WebSearchResultBlockParam]|WebSearchToolRequestErrorObject',
    tool_use_id: 'string',
    type: '"web_search_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
    caller: 'DirectCaller|ServerToolCaller|ServerToolCaller20260120',
  },
  WebSearchResultBlockParam: {
    encrypted_content: 'string',
    title: 'string',
    type: '"web_search_result"',
    url: 'string',
    page_age: 'string|null',
  },
  WebSearchToolRequestErrorObject: {
    error_code:
      '"invalid_tool_input"|"unavailable"|"max_uses_exceeded"|"too_many_requests"|"query_too_long"|"request_too_large"',
    type: '"web_search_tool_result_error"',
  },
  WebFetchToolResultBlockParam: {
    content: 'WebFetchToolResultErrorBlockParam|WebFetchBlockParam',
    tool_use_id: 'string',
    type: '"web_fetch_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
    caller: 'DirectCaller|ServerToolCaller|ServerToolCaller20260120',
  },
  WebFetchToolResultErrorBlockParam: {
    error_code:
      '"invalid_tool_input"|"url_too_long"|"url_not_allowed"|"url_not_in_prior_context"|"url_not_accessible"|"unsupported_content_type"|"too_many_requests"|"max_uses_exceeded"|"unavailable"|"content_too_large"',
    type: '"web_fetch_tool_result_error"',
  },
  WebFetchBlockParam: {
    content: 'RequestDocumentBlock',
    type: '"web_fetch_result"',
    url: 'string',
    retrieved_at: 'string|null',
  },
  AdvisorToolResultBlockParam: {
    content: 'AdvisorToolResultErrorParam|AdvisorResultBlockParam|AdvisorRedactedResultBlockParam',
    tool_use_id: 'string',
    type: '"advisor_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
  },
  AdvisorToolResultErrorParam: {
    error_code:
      '"max_uses_exceeded"|"prompt_too_long"|"too_many_requests"|"overloaded"|"unavailable"|"execution_time_exceeded"|"model_not_found"',
    type: '"advisor_tool_result_error"',
  },
  AdvisorResultBlockParam: {
    text: 'string',
    type: '"advisor_result"',
    stop_reason: 'string|null',
  },
  AdvisorRedactedResultBlockParam: {
    encrypted_content: 'string',
    type: '"advisor_redacted_result"',
    stop_reason: 'string|null',
  },
  CodeExecutionToolResultBlockParam: {
    content: 'CodeExecutionToolResultErrorParam|CodeExecutionResultBlockParam|EncryptedCodeExecutionResultBlockParam',
    tool_use_id: 'string',
    type: '"code_execution_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
  },
  CodeExecutionToolResultErrorParam: {
    error_code: '"invalid_tool_input"|"unavailable"|"too_many_requests"|"execution_time_exceeded"',
    type: '"code_execution_tool_result_error"',
  },
  CodeExecutionResultBlockParam: {
    content: '[CodeExecutionOutputBlockParam]',
    return_code: 'integer',
    stderr: 'string',
    stdout: 'string',
    type: '"code_execution_result"',
  },
  CodeExecutionOutputBlockParam: {
    file_id: 'string',
    type: '"code_execution_output"',
  },
  EncryptedCodeExecutionResultBlockParam: {
    content: '[CodeExecutionOutputBlockParam]',
    encrypted_stdout: 'string',
    return_code: 'integer',
    stderr: 'string',
    type: '"encrypted_code_execution_result"',
  },
  BashCodeExecutionToolResultBlockParam: {
    content: 'BashCodeExecutionToolResultErrorParam|BashCodeExecutionResultBlockParam',
    tool_use_id: 'string',
    type: '"bash_code_execution_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
  },
  BashCodeExecutionToolResultErrorParam: {
    error_code:
      '"invalid_tool_input"|"unavailable"|"too_many_requests"|"execution_time_exceeded"|"output_file_too_large"',
    type: '"bash_code_execution_tool_result_error"',
  },
  BashCodeExecutionResultBlockParam: {
    content: '[BashCodeExecutionOutputBlockParam]',
    return_code: 'integer',
    stderr: 'string',
    stdout: 'string',
    type: '"bash_code_execution_result"',
  },
  BashCodeExecutionOutputBlockParam: {
    file_id: 'string',
    type: '"bash_code_execution_output"',
  },
  TextEditorCodeExecutionToolResultBlockParam: {
    content:
      'TextEditorCodeExecutionToolResultErrorParam|TextEditorCodeExecutionViewResultBlockParam|TextEditorCodeExecutionCreateResultBlockParam|TextEditorCodeExecutionStrReplaceResultBlockParam',
    tool_use_id: 'string',
    type: '"text_editor_code_execution_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
  },
  TextEditorCodeExecutionToolResultErrorParam: {
    error_code: '"invalid_tool_input"|"unavailable"|"too_many_requests"|"execution_time_exceeded"|"file_not_found"',
    type: '"text_editor_code_execution_tool_result_error"',
    error_message: 'string|null',
  },
  TextEditorCodeExecutionViewResultBlockParam: {
    content: 'string',
    file_type: '"text"|"image"|"pdf"',
    type: '"text_editor_code_execution_view_result"',
    num_lines: 'integer|null',
    start_line: 'integer|null',
    total_lines: 'integer|null',
  },
  TextEditorCodeExecutionCreateResultBlockParam: {
    is_file_update: 'boolean',
    type: '"text_editor_code_execution_create_result"',
  },
  TextEditorCodeExecutionStrReplaceResultBlockParam: {
    type: '"text_editor_code_execution_str_replace_result"',
    lines: '[string]|null',
    new_lines: 'integer|null',
    new_start: 'integer|null',
    old_lines: 'integer|null',
    old_start: 'integer|null',
  },
  ToolSearchToolResultBlockParam: {
    content: 'ToolSearchToolResultErrorParam|ToolSearchToolSearchResultBlockParam',
    tool_use_id: 'string',
    type: '"tool_search_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
  },
  ToolSearchToolResultErrorParam: {
    error_code: '"invalid_tool_input"|"unavailable"|"too_many_requests"|"execution_time_exceeded"',
    type: '"tool_search_tool_result_error"',
    error_message: 'string|null',
  },
  ToolSearchToolSearchResultBlockParam: {
    tool_references: '[ToolReferenceBlockParam]',
    type: '"tool_search_tool_search_result"',
  },
  MCPToolUseBlockParam: {
    id: 'string',
    input: 'any',
    name: 'string',
    server_name: 'string',
    type: '"mcp_tool_use"',
    cache_control: 'CacheControlEphemeral|null',
  },
  RequestMCPToolResultBlockParam: {
    tool_use_id: 'string',
    type: '"mcp_tool_result"',
    cache_control: 'CacheControlEphemeral|null',
    content: 'string|[TextBlockParam]',
    is_error: 'boolean',
  },
  ContainerUploadBlockParam: {
    file_id: 'string',
    type: '"container_upload"',
    cache_control: 'CacheControlEphemeral|null',
  },
  CompactionBlockParam: {
    type: '"compaction"',
    cache_control: 'CacheControlEphemeral|null',
    content: 'string|null',
    encrypted_content: 'string|null',
    signature: 'string|null',
    tool_changes: '[RequestToolAdditionBlock|RequestToolRemovalBlock]|null',
  },
  RequestToolAdditionBlock: {
    tool: 'ToolChangeToolReference|ToolChangeMCPToolReference|ToolChangeMCPToolsetReference|ToolChangeToolDefinitionParam',
    type: '"tool_addition"',
    cache_control: 'CacheControlEphemeral|null',
  },
  ToolChangeToolReference: {
    name: 'string',
    type: '"tool_reference"',
  },
  ToolChangeMCPToolReference: {
    name: 'string',
    server_name: 'string',
    type: '"mcp_tool_reference"',
  },
  ToolChangeMCPToolsetReference: {
    server_name: 'string',
    type: '"mcp_toolset_reference"',
  },
  ToolChangeToolDefinitionParam: {
    definition: 'ToolUnion',
    type: '"tool_definition"',
  },
  RequestToolRemovalBlock: {
    tool: 'ToolChangeToolReference|ToolChangeMCPToolReference|ToolChangeMCPToolsetReference',
    type: '"tool_removal"',
    cache_control: 'CacheControlEphemeral|null',
  },
  MCPToolListingBlockParam: {
    mcp_server_name: 'string',
    tools: '[MCPToolParam]',
    type: '"mcp_tool_listing"',
  },
  FallbackBlockParam: {
    from: 'FallbackInfoParam',
    to: 'FallbackInfoParam',
    type: '"fallback"',
    trigger: 'any',
  },
  FallbackInfoParam: {
    model: 'string',
  },
  ContentBlockParam:
    'TextBlockParam|ImageBlockParam|RequestDocumentBlock|SearchResultBlockParam|ThinkingBlockParam|RedactedThinkingBlockParam|ToolUseBlockParam|ToolResultBlockParam|ServerToolUseBlockParam|WebSearchToolResultBlockParam|WebFetchToolResultBlockParam|AdvisorToolResultBlockParam|CodeExecutionToolResultBlockParam|BashCodeExecutionToolResultBlockParam|TextEditorCodeExecutionToolResultBlockParam|ToolSearchToolResultBlockParam|MCPToolUseBlockParam|RequestMCPToolResultBlockParam|ContainerUploadBlockParam|CompactionBlockParam|RequestToolAdditionBlock|RequestToolRemovalBlock|MCPToolListingBlockParam|FallbackBlockParam',
  SystemMessageOutputConfig: {
    effort: '"low"|"medium"|"high"|"xhigh"|"max"|null',
  },
  BillingPolicy: {
    type: '"billing_policy"',
    bill_to: '"self"|"user_profile"',
  },
  CompactionConfig: {
    type: '"summarize"',
    instructions: 'string|null',
  },
  ContainerParams: {
    id: 'string|null',
    skills: '[SkillParams]|null',
  },
  SkillParams: {
    skill_id: 'string',
    type: '"anthropic"|"custom"',
    version: 'string',
  },
  ContextManagementConfig: {
    edits: '[ClearToolUses20250919Edit|ClearThinking20251015Edit|Compact20260112Edit]',
  },
  ClearToolUses20250919Edit: {
    type: '"clear_tool_uses_20250919"',
    clear_at_least: 'InputTokensClearAtLeast|null',
    clear_tool_inputs: 'boolean|[string]|null',
    exclude_tools: '[string]|null',
    keep: 'ToolUsesKeep',
    trigger: 'InputTokensTrigger|ToolUsesTrigger',
  },
  InputTokensClearAtLeast: {
    type: '"input_tokens"',
    value: 'integer',
  },
  ToolUsesKeep: {
    type: '"tool_uses"',
    value: 'integer',
  },
  InputTokensTrigger: {
    type: '"input_tokens"',
    value: 'integer',
  },
  ToolUsesTrigger: {
    type: '"tool_uses"',
    value: 'integer',
  },
  ClearThinking20251015Edit: {
    type: '"clear_thinking_20251015"',
    keep: 'ThinkingTurns|AllThinkingTurns|"all"',
  },
  ThinkingTurns: {
    type: '"thinking_turns"',
    value: 'integer',
  },
  AllThinkingTurns: {
    type: '"all"',
  },
  Compact20260112Edit: {
    type: '"compact_20260112"',
    instructions: 'string|null',
    pause_after_compaction: 'boolean',
    trigger: 'InputTokensTrigger|null',
  },
  DiagnosticsParam: {
    previous_message_id: 'string|null',
  },
  FallbackCreditTokenParam: {
    token: 'string',
    mode: '"strict"|"best_effort"',
  },
  FallbackParam: {
    model: 'string',
    max_tokens: 'integer|null',
    output_config: 'OutputConfig|null',
    speed: '"standard"|"fast"|null',
    thinking: 'ThinkingConfigEnabled|ThinkingConfigDisabled|ThinkingConfigBetweenTools|ThinkingConfigAdaptive|null',
    '*': 'any',
  },
  OutputConfig: {
    effort: '"low"|"medium"|"high"|"xhigh"|"max"|null',
    format: 'JSONOutputFormat|null',
    task_budget: 'TokenTaskBudget|null',
  },
  JSONOutputFormat: {
    schema: '{any}',
    type: '"json_schema"',
  },
  TokenTaskBudget: {
    total: 'integer',
    type: '"tokens"',
    remaining: 'integer|null',
  },
  ThinkingConfigEnabled: {
    budget_tokens: 'integer',
    type: '"enabled"',
    block_binding: 'ThinkingBlockBinding|null',
    display: '"summarized"|"omitted"|"updates"|null',
  },
  ThinkingBlockBinding: {
    prefix_mismatch_behavior: '"error"|"drop_block"|null',
  },
  ThinkingConfigDisabled: {
    type: '"disabled"',
  },
  ThinkingConfigBetweenTools: {
    type: '"between_tools"',
  },
  ThinkingConfigAdaptive: {
    type: '"adaptive"',
    block_binding: 'ThinkingBlockBinding|null',
    display: '"summarized"|"omitted"|"updates"|null',
  },
  RequestMCPServerURLDefinition: {
    name: 'string',
    type: '"url"',
    url: 'string',
    authorization_token: 'string|null',
    tool_configuration: 'RequestMCPServerToolConfiguration|null',
  },
  RequestMCPServerToolConfiguration: {
    allowed_tools: '[string]|null',
    enabled: 'boolean|null',
  },
  Metadata: {
    user_id: 'string|null',
  },
  ThinkingConfigParam: 'ThinkingConfigEnabled|ThinkingConfigDisabled|ThinkingConfigBetweenTools|ThinkingConfigAdaptive',
  ThreadCreateParams: {
    type: '"create"',
  },
  ThreadContinueParams: {
    previous_message_id: 'string',
    type: '"continue"',
  },
  ToolChoiceAuto: {
    type: '"auto"',
    disable_parallel_tool_use: 'boolean',
  },
  ToolChoiceAny: {
    type: '"any"',
    disable_parallel_tool_use: 'boolean',
  },
  ToolChoiceTool: {
    name: 'string',
    type: '"tool"',
    disable_parallel_tool_use: 'boolean',
  },
  ToolChoiceNone: {
    type: '"none"',
  },
  ToolChoice: 'ToolChoiceAuto|ToolChoiceAny|ToolChoiceTool|ToolChoiceNone',
  MessageCountTokensParams: {
    messages: '[MessageParam]',
    model: 'string',
    billing_policy: 'BillingPolicy|null',
    cache_control: 'CacheControlEphemeral|null',
    compaction: 'CompactionConfig|null',
    context_management: 'ContextManagementConfig|null',
    mcp_servers: '[RequestMCPServerURLDefinition]',
    output_config: 'OutputConfig',
    output_format: 'JSONOutputFormat|null',
    speed: '"standard"|"fast"|null',
    system: 'string|[TextBlockParam]',
    thinking: 'ThinkingConfigParam',
    tool_choice: 'ToolChoice',
    tools:
      '[Tool|ToolBash20241022|ToolBash20250124|CodeExecutionTool20250522|CodeExecutionTool20250825|CodeExecutionTool20260120|CodeExecutionTool20260521|BrowserToolset20260801|ToolComputerUse20241022|MemoryTool20250818|ToolComputerUse20250124|ToolTextEditor20241022|ToolComputerUse20251124|ComputerToolset20260801|ToolTextEditor20250124|ToolTextEditor20250429|ToolTextEditor20250728|WebSearchTool20250305|WebFetchTool20250910|WebSearchTool20260209|WebFetchTool20260209|WebFetchTool20260309|WebSearchTool20260318|WebFetchTool20260318|AdvisorTool20260301|ToolSearchToolBm25_20251119|ToolSearchToolRegex20251119|MCPToolset]',
    user_profile_id: 'string',
    workspace_id: 'string',
  },
};
