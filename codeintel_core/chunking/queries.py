"""Tree-sitter queries, one pair per grammar: what defines a symbol, and what else a chunk wants to know.

In `DEFINITIONS` the capture beside `@name` is the kind of the symbol; `@scope` names a container written elsewhere
(Go's receiver). The rules common to all languages (functions in a class are methods, locals are no symbols, the
pattern that matches the widest node wins) live in `spans.py`, which keeps these tables short. In `SCANS`, `@ref` is a
use of a name, `@lead` may stand above a definition and belongs to it, `@comment` is a lead that documents it.
"""

from __future__ import annotations

_JS = """
(function_declaration name: (_) @name) @function
(generator_function_declaration name: (_) @name) @function
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)]) @function
(method_definition name: (_) @name) @function
(assignment_expression left: (member_expression) @name right: [(arrow_function) (function_expression)]) @method
(program (lexical_declaration (variable_declarator name: (identifier) @name) @constant))
(program (variable_declaration (variable_declarator name: (identifier) @name) @constant))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @constant)))
"""

_TS = (
    _JS
    + """
(class_declaration name: (_) @name) @class
(abstract_class_declaration name: (_) @name) @class
(public_field_definition name: (_) @name) @field
(interface_declaration name: (_) @name) @interface
(type_alias_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @enum
(internal_module name: (_) @name) @module
(module name: (_) @name) @module
(abstract_method_signature name: (_) @name) @function
(function_signature name: (_) @name) @function
"""
)

_C = """
(function_definition declarator: (function_declarator declarator: (_) @name)) @function
(function_definition declarator: (_ declarator: (function_declarator declarator: (_) @name))) @function
(function_definition declarator: (_ declarator: (_ declarator: (function_declarator declarator: (_) @name)))) @function
(struct_specifier name: (_) @name body: (_)) @struct
(union_specifier name: (_) @name body: (_)) @struct
(enum_specifier name: (_) @name body: (_)) @enum
(type_definition declarator: (type_identifier) @name) @type
(preproc_def name: (_) @name) @constant
(preproc_function_def name: (_) @name) @macro
"""

_CPP = (
    _C
    + """
(function_definition declarator: (reference_declarator (function_declarator declarator: (_) @name))) @function
(class_specifier name: (_) @name body: (_)) @class
(namespace_definition name: (_) @name) @module
(alias_declaration name: (_) @name) @type
(concept_definition name: (_) @name) @type
(template_declaration (class_specifier name: (_) @name body: (_))) @class
(template_declaration (struct_specifier name: (_) @name body: (_))) @struct
(template_declaration (function_definition declarator: (function_declarator declarator: (_) @name))) @function
"""
)

DEFINITIONS: dict[str, str] = {
    "python": """
(function_definition name: (_) @name) @function
(class_definition name: (_) @name) @class
(module (expression_statement (assignment left: (identifier) @name) @constant))
(class_definition body: (block (expression_statement (assignment left: (identifier) @name) @field)))
(type_alias_statement left: (type (identifier) @name)) @type
""",
    "javascript": _JS
    + """
(class_declaration name: (_) @name) @class
(field_definition property: (_) @name) @field
""",
    "typescript": _TS,
    "tsx": _TS,
    "java": """
(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(annotation_type_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(method_declaration name: (_) @name) @function
(constructor_declaration name: (_) @name) @function
(compact_constructor_declaration name: (_) @name) @function
(field_declaration declarator: (variable_declarator name: (_) @name)) @field
(constant_declaration declarator: (variable_declarator name: (_) @name)) @field
""",
    "go": """
(function_declaration name: (_) @name) @function
(method_declaration receiver: (parameter_list (parameter_declaration type: (_) @scope)) name: (_) @name) @method
(type_spec name: (_) @name type: (struct_type)) @struct
(type_spec name: (_) @name type: (interface_type)) @interface
(type_spec name: (_) @name) @type
(type_alias name: (_) @name) @type
(const_spec name: (identifier) @name) @constant
(var_spec name: (identifier) @name) @variable
(field_declaration name: (_) @name) @field
""",
    "rust": """
(function_item name: (_) @name) @function
(function_signature_item name: (_) @name) @function
(struct_item name: (_) @name) @struct
(union_item name: (_) @name) @struct
(enum_item name: (_) @name) @enum
(trait_item name: (_) @name) @trait
(impl_item type: (_) @name) @impl
(mod_item name: (_) @name body: (_)) @module
(type_item name: (_) @name) @type
(const_item name: (_) @name) @constant
(static_item name: (_) @name) @constant
(macro_definition name: (_) @name) @macro
(field_declaration name: (_) @name) @field
""",
    "c": _C,
    "cpp": _CPP,
    "c_sharp": """
(namespace_declaration name: (_) @name) @module
(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(struct_declaration name: (_) @name) @struct
(enum_declaration name: (_) @name) @enum
(delegate_declaration name: (_) @name) @type
(method_declaration name: (_) @name) @function
(local_function_statement name: (_) @name) @function
(constructor_declaration name: (_) @name) @function
(property_declaration name: (_) @name) @field
(field_declaration (variable_declaration (variable_declarator name: (_) @name))) @field
""",
    "ruby": """
(module name: (_) @name) @module
(class name: (_) @name) @class
(method name: (_) @name) @function
(singleton_method name: (_) @name) @function
(assignment left: (constant) @name) @constant
""",
    "php": """
(namespace_definition name: (_) @name body: (_)) @module
(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(trait_declaration name: (_) @name) @trait
(enum_declaration name: (_) @name) @enum
(function_definition name: (_) @name) @function
(method_declaration name: (_) @name) @function
(property_element name: (_) @name) @field
(const_element (name) @name) @constant
""",
    "kotlin": """
(class_declaration "interface" name: (_) @name) @interface
(class_declaration name: (_) @name) @class
(object_declaration name: (_) @name) @class
(function_declaration name: (_) @name) @function
(property_declaration (variable_declaration (identifier) @name)) @constant
(type_alias type: (identifier) @name) @type
""",
    "scala": """
(class_definition name: (_) @name) @class
(object_definition name: (_) @name) @class
(trait_definition name: (_) @name) @trait
(enum_definition name: (_) @name) @enum
(function_definition name: (_) @name) @function
(function_declaration name: (_) @name) @function
(val_definition pattern: (identifier) @name) @constant
(type_definition name: (_) @name) @type
""",
    "swift": """
(class_declaration declaration_kind: "struct" name: (_) @name) @struct
(class_declaration declaration_kind: "enum" name: (_) @name) @enum
(class_declaration name: (_) @name) @class
(protocol_declaration name: (_) @name) @interface
(protocol_function_declaration name: (simple_identifier) @name) @function
(function_declaration name: (simple_identifier) @name) @function
(init_declaration "init" @name) @function
(property_declaration name: (pattern (simple_identifier) @name)) @constant
(typealias_declaration name: (type_identifier) @name) @type
""",
    "bash": """
(function_definition name: (_) @name) @function
(program (variable_assignment name: (variable_name) @name) @constant)
(program (declaration_command (variable_assignment name: (variable_name) @name) @constant))
""",
    "sql": """
(statement (create_table (object_reference name: (_) @name))) @class
(statement (create_view (object_reference name: (_) @name))) @class
(statement (create_materialized_view (object_reference name: (_) @name))) @class
(statement (create_function (object_reference name: (_) @name))) @function
(statement (create_type (object_reference name: (_) @name))) @type
(statement (create_index column: (identifier) @name)) @constant
""",
    "json": "(document (object (pair key: (string) @name) @key))",
    "toml": """
(document (pair [(bare_key) (dotted_key) (quoted_key)] @name) @key)
(table [(bare_key) (dotted_key) (quoted_key)] @name) @key
(table_array_element [(bare_key) (dotted_key) (quoted_key)] @name) @key
""",
    "html": "",
    "css": "",
}

_SCAN_JS = """
[(identifier) (property_identifier) (shorthand_property_identifier)] @ref
(comment) @comment  (decorator) @lead  (import_statement) @import
((lexical_declaration (variable_declarator value: (call_expression function: (identifier) @_f))) @import
 (#eq? @_f "require"))
((variable_declaration (variable_declarator value: (call_expression function: (identifier) @_f))) @import
 (#eq? @_f "require"))
"""
_SCAN_C = "[(identifier) (type_identifier) (field_identifier)] @ref (comment) @comment (preproc_include) @import"

SCANS: dict[str, str] = {
    "python": """
(identifier) @ref (comment) @comment (decorator) @lead
[(import_statement) (import_from_statement) (future_import_statement)] @import
""",
    "javascript": _SCAN_JS,
    "typescript": _SCAN_JS + "(type_identifier) @ref",
    "tsx": _SCAN_JS + "(type_identifier) @ref",
    "java": """
[(identifier) (type_identifier)] @ref [(line_comment) (block_comment)] @comment (import_declaration) @import
""",
    "go": "[(identifier) (type_identifier) (field_identifier)] @ref (comment) @comment (import_spec) @import",
    "rust": """
[(identifier) (type_identifier) (field_identifier)] @ref [(line_comment) (block_comment)] @comment
(attribute_item) @lead (use_declaration) @import
""",
    "c": _SCAN_C,
    "cpp": _SCAN_C + "(namespace_identifier) @ref (using_declaration) @import",
    "c_sharp": "(identifier) @ref (comment) @comment (using_directive) @import",
    "ruby": """
[(identifier) (constant)] @ref (comment) @comment
((call method: (identifier) @_f) @import (#any-of? @_f "require" "require_relative"))
""",
    "php": "(name) @ref (comment) @comment (attribute_list) @lead (namespace_use_declaration) @import",
    "kotlin": "(identifier) @ref [(line_comment) (block_comment)] @comment (import) @import",
    "scala": """
[(identifier) (type_identifier)] @ref [(comment) (block_comment)] @comment (import_declaration) @import
""",
    "swift": """
[(simple_identifier) (type_identifier)] @ref [(comment) (multiline_comment)] @comment (import_declaration) @import
""",
    "bash": """
[(command_name) (variable_name)] @ref (comment) @comment
((command name: (command_name) @_f) @import (#any-of? @_f "source" "."))
""",
    "sql": "(identifier) @ref [(comment) (marginalia)] @comment",
    "json": "",
    "toml": "(comment) @comment",
    "html": "",
    "css": "[(class_name) (id_name)] @ref (comment) @comment (import_statement) @import",
}
