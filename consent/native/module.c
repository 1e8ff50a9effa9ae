/* consent._speedups: the inner loops, each with a counterpart in Python; see the modules that use them. */
#include "native.h"

static PyMethodDef module_functions[] = {
    {"glance", glance, METH_VARARGS,
     "glance(headers, cookie_name, plain_codings): see consent.request_fields.glance."},
    {"find_tag", find_tag, METH_VARARGS,
     "find_tag(page, position, name): return where a tag begins; -1 where it is not there. \"/\" begins an end tag."},
    {"literals", literals, METH_O,
     "literals(script): return where strings and comments begin and end, as two arrays of 32-bit integers."},
    {"start_tag", start_tag, METH_VARARGS,
     "start_tag(page, start, Tag, Attribute): return the start tag at start; None where it is not complete."},
    {"style_urls", style_urls, METH_O,
     "style_urls(sheet): return where its URLs begin and end; None where it has to be read with more care."},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static int module_exec(PyObject *module)
{
    prepare_bytes();
    PyType_Spec *const types[] = {&evidence_spec,     &url_rules_spec, &page_screen_spec,
                                  &field_finder_spec, &way_out_spec,   &entrance_spec};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (add_type(module, types[i]) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consent._speedups",
    .m_doc = "Inner loops; see the modules that use them.",
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__speedups(void)
{
    return PyModuleDef_Init(&module);
}
