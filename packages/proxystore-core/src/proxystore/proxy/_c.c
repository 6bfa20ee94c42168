/* The `Proxy` type in C. `_pure.py` is its twin and its specification.
 *
 * What is here is what a resolved proxy passes through: each operation reads one pointer,
 * the target, and asks the C API to do to the target what was asked of the proxy.
 * What happens once or rarely (resolving, probes, hashes and classes on record, pickling,
 * repr) is Python, in `_answers.py`, and so are the special methods that have no slot of
 * their own, in `_special.py`: both implementations share it.
 *
 * Written for the limited API of 3.11, so that one build serves every later Python. It has
 * no vectorcall, no trashcan and no names for the two pattern-matching flags.
 *
 * Every proxy is of a type that derives from `Proxy`, one for each variant (see `_variants.py`).
 * They differ in a few slots; what they have in common is in the slots of `Proxy`.
 *
 * Sections: the object; from proxy to target; operators; containers and iterators;
 * conversions, calls and buffers; attributes; what is the proxy's own; life of the object;
 * the type; the module.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

/* ---- The object ------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *target;   /* NULL while unresolved; never itself a proxy, see bare() */
    PyObject *factory;
    PyObject *recorded; /* class of the target, or its name, or NULL */
    PyObject *hash;     /* an int, the exception that hashing raised, or NULL */
    PyObject *weakrefs;
} Proxy;

/* One for the process: the module refuses to be loaded by a subinterpreter. */
static PyTypeObject *proxy_type;
#define N_VARIANTS 5
static PyTypeObject *variants[N_VARIANTS]; /* In the order of `Variant`. */
#define OBJECT_VARIANT 0
static PyObject *class_name, *target_name, *cache_defaults_name; /* Interned. */

/* From _answers.py. */
static struct {
    PyObject *own_names;
    PyObject *resolve_once;
    PyObject *factory_error;
    PyObject *known_variants;
    PyObject *variant_of;
    PyObject *unresolved_attribute;
    PyObject *default_class;
    PyObject *unresolved_hash;
    PyObject *hash_or_error;
    PyObject *index;
    PyObject *view;
} answers;

static inline Proxy *
as_proxy(PyObject *object)
{
    return (Proxy *)object;
}

static inline bool
is_proxy(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == variants[OBJECT_VARIANT] || PyType_IsSubtype(type, proxy_type);
}

/* Assign to a field. The field is right before the old value dies, which may run any code. */
static void
replace(PyObject **field, PyObject *value)
{
    PyObject *old = *field;
    Py_XINCREF(value);
    *field = value;
    Py_XDECREF(old);
}

static PyObject *
call(PyObject *function, PyObject *argument)
{
    return PyObject_CallFunctionObjArgs(function, argument, NULL);
}

/* ---- From proxy to target --------------------------------------------------------------
 *
 * The target is held while it is used: another thread, or the target itself, may delete or
 * replace it meanwhile.
 *
 * A target may lead back to its proxy, such as hash(p) of a tuple that holds p, and exhaust
 * the C stack. Python's own check makes a RecursionError of that, but costs 2 ns, a tenth of
 * p[0]. So it starts only once many operations are under way; they are counted in all
 * threads together (the GIL guards the count), which at worst starts it early.
 */

#define UNCHECKED 100

static int n_under_way;

typedef struct {
    PyObject *target; /* NULL with an error set */
    bool is_checked;
} Use;

static PyObject *
target_of(PyObject *self)
{
    PyObject *target = as_proxy(self)->target;
    if (target == NULL)
        return call(answers.resolve_once, self);
    Py_INCREF(target);
    return target;
}

static inline Use
enter(PyObject *self)
{
    Use use = {target_of(self), n_under_way >= UNCHECKED};
    if (use.target != NULL && use.is_checked && Py_EnterRecursiveCall(" in a proxy"))
        Py_CLEAR(use.target);
    n_under_way += use.target != NULL;
    return use;
}

static inline void
leave(Use use)
{
    n_under_way--;
    if (use.is_checked)
        Py_LeaveRecursiveCall();
    Py_DECREF(use.target);
}

/* The target if the argument is a proxy, else the argument; a new reference. */
static PyObject *
bare(PyObject *object)
{
    if (is_proxy(object))
        return target_of(object);
    Py_INCREF(object);
    return object;
}

/* The number of the variant for targets of a class, or -1 with an error set. */
static long
variant_of(PyTypeObject *class)
{
    PyObject *key = PyLong_FromVoidPtr(class);
    if (key == NULL)
        return -1;
    PyObject *known = PyDict_GetItemWithError(answers.known_variants, key);
    Py_DECREF(key);
    if (known != NULL || PyErr_Occurred())
        return known == NULL ? -1 : PyLong_AsLong(known);
    PyObject *variant = call(answers.variant_of, (PyObject *)class);
    long number = variant == NULL ? -1 : PyLong_AsLong(variant);
    Py_XDECREF(variant);
    return number;
}

/* Give a proxy the type that fits its target. One of a class that somebody derived keeps its. */
static int
fit(PyObject *self, PyObject *target)
{
    int i = 0;
    while (i < N_VARIANTS && Py_TYPE(self) != variants[i])
        i++;
    if (i == N_VARIANTS)
        return 0;
    long number = variant_of(Py_TYPE(target));
    if (number < 0)
        return -1;
    /* Read again: while a class is asked about, another thread may fit the proxy. */
    PyTypeObject *own = Py_TYPE(self);
    Py_INCREF((PyObject *)variants[number]);
    Py_SET_TYPE(self, variants[number]);
    Py_DECREF((PyObject *)own);
    return 0;
}

/* Make a value, or what it is the proxy of, the target. */
static int
accept(PyObject *self, PyObject *value)
{
    PyObject *target = bare(value);
    int failed = target == NULL ? -1 : fit(self, target);
    if (!failed)
        replace(&as_proxy(self)->target, target);
    Py_XDECREF(target);
    return failed;
}

/* ---- Operators -------------------------------------------------------------------------
 *
 * A table has a line for each slot: its name in the type, and the function that does the
 * same to the target. DEFINE_x makes a function of a line, and LIST (at the type) its entry.
 */

#define UNARY(_)                      \
    _(nb_negative, PyNumber_Negative) \
    _(nb_positive, PyNumber_Positive) \
    _(nb_absolute, PyNumber_Absolute) \
    _(nb_invert, PyNumber_Invert)     \
    _(nb_int, PyNumber_Long)          \
    _(nb_float, PyNumber_Float)       \
    _(tp_str, PyObject_Str)           \
    _(tp_iter, PyObject_GetIter)

#define DEFINE_UNARY(slot, operation)             \
    static PyObject *slot(PyObject *self)         \
    {                                             \
        Use use = enter(self);                    \
        if (use.target == NULL)                   \
            return NULL;                          \
        PyObject *result = operation(use.target); \
        leave(use);                               \
        return result;                            \
    }

UNARY(DEFINE_UNARY)

/* Python calls these with the proxy on either side. The other operand stays as it is:
 * a target that keeps its operands, such as an expression, keeps a proxy. */
#define BINARY(_)                                  \
    _(nb_add, PyNumber_Add)                        \
    _(nb_subtract, PyNumber_Subtract)              \
    _(nb_multiply, PyNumber_Multiply)              \
    _(nb_true_divide, PyNumber_TrueDivide)         \
    _(nb_floor_divide, PyNumber_FloorDivide)       \
    _(nb_divmod, PyNumber_Divmod)                  \
    _(nb_matrix_multiply, PyNumber_MatrixMultiply) \
    _(nb_lshift, PyNumber_Lshift)                  \
    _(nb_rshift, PyNumber_Rshift)                  \
    _(nb_and, PyNumber_And)                        \
    _(nb_or, PyNumber_Or)                          \
    _(nb_xor, PyNumber_Xor)

#define DEFINE_BINARY(slot, operation)                            \
    static PyObject *slot(PyObject *left, PyObject *right)        \
    {                                                             \
        bool is_left = is_proxy(left);                            \
        Use use = enter(is_left ? left : right);                  \
        if (use.target == NULL)                                   \
            return NULL;                                          \
        PyObject *result = is_left ? operation(use.target, right) \
                                   : operation(left, use.target); \
        leave(use);                                               \
        return result;                                            \
    }

BINARY(DEFINE_BINARY)

/* A tuple that is proxied is not a tuple to str.__mod__ until it is bare. */
static PyObject *
nb_remainder(PyObject *left, PyObject *right)
{
    if (!is_proxy(left)) {
        Use use = enter(right);
        if (use.target == NULL)
            return NULL;
        PyObject *result = PyNumber_Remainder(left, use.target);
        leave(use);
        return result;
    }
    PyObject *operand = bare(right), *result = NULL;
    if (operand == NULL)
        return NULL;
    Use use = enter(left);
    if (use.target != NULL) {
        result = PyNumber_Remainder(use.target, operand);
        leave(use);
    }
    Py_DECREF(operand);
    return result;
}

static PyObject *
power(PyObject *base, PyObject *exponent)
{
    return PyNumber_Power(base, exponent, Py_None);
}

DEFINE_BINARY(binary_power, power)

static PyObject *
nb_power(PyObject *base, PyObject *exponent, PyObject *modulus)
{
    if (modulus == Py_None)
        return binary_power(base, exponent);
    PyObject *operands[] = {base, exponent, modulus};
    PyObject *result = NULL;
    int n = 0;
    while (n < 3 && (operands[n] = bare(operands[n])) != NULL)
        n++;
    if (n == 3)
        result = PyNumber_Power(operands[0], operands[1], operands[2]);
    while (n > 0)
        Py_DECREF(operands[--n]);
    return result;
}

/* `p += x` changes the target, or puts another in its place, and p stays the same proxy. */
#define INPLACE(_)                                                \
    _(nb_inplace_add, PyNumber_InPlaceAdd)                        \
    _(nb_inplace_subtract, PyNumber_InPlaceSubtract)              \
    _(nb_inplace_multiply, PyNumber_InPlaceMultiply)              \
    _(nb_inplace_true_divide, PyNumber_InPlaceTrueDivide)         \
    _(nb_inplace_floor_divide, PyNumber_InPlaceFloorDivide)       \
    _(nb_inplace_remainder, PyNumber_InPlaceRemainder)            \
    _(nb_inplace_matrix_multiply, PyNumber_InPlaceMatrixMultiply) \
    _(nb_inplace_lshift, PyNumber_InPlaceLshift)                  \
    _(nb_inplace_rshift, PyNumber_InPlaceRshift)                  \
    _(nb_inplace_and, PyNumber_InPlaceAnd)                        \
    _(nb_inplace_or, PyNumber_InPlaceOr)                          \
    _(nb_inplace_xor, PyNumber_InPlaceXor)

typedef PyObject *operation(PyObject *, PyObject *);

static PyObject *
in_place(PyObject *self, PyObject *other, operation *operate)
{
    Use use = enter(self);
    PyObject *operand, *result = NULL;
    if (use.target == NULL)
        return NULL;
    if ((operand = bare(other)) != NULL) {
        result = operate(use.target, operand);
        Py_DECREF(operand);
    }
    leave(use);
    if (result == NULL)
        return NULL;
    int failed = accept(self, result);
    Py_DECREF(result);
    if (failed)
        return NULL;
    Py_INCREF(self);
    return self;
}

#define DEFINE_INPLACE(slot, operation)                    \
    static PyObject *slot(PyObject *self, PyObject *other) \
    {                                                      \
        return in_place(self, other, operation);           \
    }

INPLACE(DEFINE_INPLACE)

static PyObject *
power_in_place(PyObject *base, PyObject *exponent)
{
    return PyNumber_InPlacePower(base, exponent, Py_None);
}

static PyObject *
nb_inplace_power(PyObject *self, PyObject *exponent, PyObject *Py_UNUSED(modulus))
{
    return in_place(self, exponent, power_in_place);
}

static PyObject *
tp_richcompare(PyObject *self, PyObject *other, int comparison)
{
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    PyObject *result = PyObject_RichCompare(use.target, other, comparison);
    leave(use);
    return result;
}

/* ---- Containers and iterators ---------------------------------------------------------- */

static Py_ssize_t
mp_length(PyObject *self)
{
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    Py_ssize_t length = PyObject_Size(use.target);
    leave(use);
    return length;
}

static PyObject *
mp_subscript(PyObject *self, PyObject *key)
{
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    PyObject *item = PyObject_GetItem(use.target, key);
    leave(use);
    return item;
}

/* A value of NULL deletes, here as in every slot that assigns. */
static int
mp_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    int failed = value == NULL ? PyObject_DelItem(use.target, key)
                               : PyObject_SetItem(use.target, key, value);
    leave(use);
    return failed;
}

/* Code that asks PySequence_Check() wants this slot; mappings answer it too, as `p[index]`. */
static PyObject *
sq_item(PyObject *self, Py_ssize_t index)
{
    PyObject *key = PyLong_FromSsize_t(index);
    if (key == NULL)
        return NULL;
    PyObject *item = mp_subscript(self, key);
    Py_DECREF(key);
    return item;
}

static int
sq_ass_item(PyObject *self, Py_ssize_t index, PyObject *value)
{
    PyObject *key = PyLong_FromSsize_t(index);
    if (key == NULL)
        return -1;
    int failed = mp_ass_subscript(self, key, value);
    Py_DECREF(key);
    return failed;
}

static int
sq_contains(PyObject *self, PyObject *item)
{
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    int contains = PySequence_Contains(use.target, item);
    leave(use);
    return contains;
}

/* Not PyIter_Next(): it would drop the value that a generator returns. */
static PyObject *
tp_iternext(PyObject *self)
{
    Use use = enter(self);
    PyObject *item = NULL;
    if (use.target == NULL)
        return NULL;
    if (PyIter_Check(use.target)) {
        iternextfunc next = (iternextfunc)PyType_GetSlot(Py_TYPE(use.target), Py_tp_iternext);
        item = next(use.target);
    }
    else {
        PyObject *name = PyType_GetQualName(Py_TYPE(use.target));
        if (name != NULL)
            PyErr_Format(PyExc_TypeError, "'%U' object is not an iterator", name);
        Py_XDECREF(name);
    }
    leave(use);
    return item;
}

/* ---- Conversions, calls and buffers ---------------------------------------------------- */

static int
nb_bool(PyObject *self)
{
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    int truth = PyObject_IsTrue(use.target);
    leave(use);
    return truth;
}

static PyObject *
nb_index(PyObject *self)
{
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    /* The Python function raises, and says what to do. So it does for buffers below. */
    PyObject *number = PyIndex_Check(use.target) ? PyNumber_Index(use.target)
                                                 : call(answers.index, use.target);
    leave(use);
    return number;
}

static Py_hash_t
tp_hash(PyObject *self)
{
    if (as_proxy(self)->target == NULL) {
        PyObject *recorded = call(answers.unresolved_hash, self);
        if (recorded == NULL)
            return -1;
        Py_hash_t hash = PyLong_AsSsize_t(recorded);
        Py_DECREF(recorded);
        return hash;
    }
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    Py_hash_t hash = PyObject_Hash(use.target);
    leave(use);
    return hash;
}

static PyObject *
tp_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    PyObject *result = PyObject_Call(use.target, args, kwargs);
    leave(use);
    return result;
}

static PyObject *
proxy_format(PyObject *self, PyObject *specification)
{
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    PyObject *text = PyObject_Format(use.target, specification);
    leave(use);
    return text;
}

/* The buffer names the target as its owner, so there is nothing to release. */
static int
bf_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    int failed = -1;
    view->obj = NULL;
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    if (PyObject_CheckBuffer(use.target))
        failed = PyObject_GetBuffer(use.target, view, flags);
    else
        Py_XDECREF(call(answers.view, use.target)); /* Raises. */
    leave(use);
    return failed;
}

/* ---- Attributes ------------------------------------------------------------------------ */

/* 1, 0, or -1 with an error. Few names begin with an underscore, and only these are looked up. */
static inline int
is_own(PyObject *name)
{
    Py_UCS4 first = PyUnicode_ReadChar(name, 0);
    if (first == (Py_UCS4)-1)
        PyErr_Clear(); /* The empty name. */
    return first == '_' ? PySet_Contains(answers.own_names, name) : 0;
}

static PyObject *
tp_getattro(PyObject *self, PyObject *name)
{
    /* isinstance() asks for __class__, which saves the look-up. */
    int own = name == class_name ? 0 : is_own(name);
    if (own != 0)
        return own < 0 ? NULL : PyObject_GenericGetAttr(self, name);
    if (as_proxy(self)->target == NULL)
        return PyObject_CallFunctionObjArgs(answers.unresolved_attribute, self, name, NULL);
    Use use = enter(self);
    if (use.target == NULL)
        return NULL;
    PyObject *value = PyObject_GetAttr(use.target, name);
    leave(use);
    return value;
}

static int
tp_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    int own = is_own(name);
    if (own != 0)
        return own < 0 ? -1 : PyObject_GenericSetAttr(self, name, value);
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    int failed = PyObject_SetAttr(use.target, name, value);
    leave(use);
    return failed;
}

/* ---- What is the proxy's own ----------------------------------------------------------- */

static PyObject *
get_resolved(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(as_proxy(self)->target != NULL);
}

static PyObject *
get_wrapped(PyObject *self, void *Py_UNUSED(closure))
{
    return target_of(self);
}

static int
set_wrapped(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value != NULL)
        return accept(self, value);
    replace(&as_proxy(self)->target, NULL);
    return 0;
}

static PyObject *
get_target(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *target = as_proxy(self)->target;
    if (target == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__proxy_target__");
        return NULL;
    }
    Py_INCREF(target);
    return target;
}

static int
set_target(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL && as_proxy(self)->target == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__proxy_target__");
        return -1;
    }
    return set_wrapped(self, value, closure);
}

static PyObject *
get_default_class(PyObject *self, void *Py_UNUSED(closure))
{
    return call(answers.default_class, self);
}

static PyGetSetDef properties[] = {
    {"__proxy_resolved__", get_resolved, NULL, "Whether the target is here.", NULL},
    {"__proxy_wrapped__", get_wrapped, set_wrapped, "The target, resolving if need be.", NULL},
    {"__proxy_target__", get_target, set_target, "The target, if it is here.", NULL},
    {"__proxy_default_class__", get_default_class, NULL, "The recorded class, or None.", NULL},
    {NULL},
};

static PyMemberDef members[] = {
    {"__proxy_factory__", T_OBJECT_EX, offsetof(Proxy, factory), 0, "The factory."},
    {"__proxy_recorded_class__", T_OBJECT_EX, offsetof(Proxy, recorded), 0,
     "The recorded class, or its name."},
    {"__proxy_default_hash__", T_OBJECT, offsetof(Proxy, hash), READONLY,
     "The recorded hash, the exception that hashing raised, or None."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Proxy, weakrefs), READONLY, NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"__format__", proxy_format, METH_O, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585"},
    {NULL},
};

/* ---- Life of the object ---------------------------------------------------------------- */

static int
record(PyObject *self)
{
    Use use = enter(self);
    if (use.target == NULL)
        return -1;
    PyObject *class = PyObject_GetAttr(use.target, class_name);
    PyObject *hash = class == NULL ? NULL : call(answers.hash_or_error, use.target);
    leave(use);
    if (hash != NULL) {
        replace(&as_proxy(self)->recorded, class);
        replace(&as_proxy(self)->hash, hash);
    }
    Py_XDECREF(class);
    Py_XDECREF(hash);
    return hash == NULL ? -1 : 0;
}

static PyObject *
tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *made = type == proxy_type ? variants[OBJECT_VARIANT] : type;
    return PyType_GenericNew(made, args, kwargs);
}

/* References are borrowed. */
typedef struct {
    PyObject *factory, *cache_defaults, *target;
} Arguments;

static int
parse(PyObject *args, PyObject *kwargs, Arguments *given)
{
    static char *names[] = {"factory", "cache_defaults", "target", NULL};
    /* What is right, as nearly always, needs no parser, which costs as much as all the rest. */
    if (PyTuple_Size(args) == 1) {
        given->factory = PyTuple_GetItem(args, 0);
        if (kwargs == NULL)
            return 0;
        given->target = PyDict_GetItemWithError(kwargs, target_name);
        Py_ssize_t n_others = PyDict_Size(kwargs) - (given->target != NULL);
        if (n_others > 0)
            given->cache_defaults = PyDict_GetItemWithError(kwargs, cache_defaults_name);
        if (n_others == (given->cache_defaults != NULL))
            return 0;
    }
    return PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO:Proxy", names, &given->factory,
                                       &given->cache_defaults, &given->target) ? 0 : -1;
}

static int
tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Arguments given = {NULL, NULL, NULL};
    if (parse(args, kwargs, &given) < 0)
        return -1;
    PyObject *factory = given.factory, *target = given.target;
    if (!PyCallable_Check(factory)) {
        PyObject *error = call(answers.factory_error, factory);
        if (error != NULL)
            PyErr_SetObject(PyExc_TypeError, error);
        Py_XDECREF(error);
        return -1;
    }
    replace(&as_proxy(self)->factory, factory);
    if (target == NULL || target == Py_None)
        return 0;
    int is_recorded = given.cache_defaults == NULL ? 0 : PyObject_IsTrue(given.cache_defaults);
    if (is_recorded < 0 || accept(self, target) < 0)
        return -1;
    return is_recorded ? record(self) : 0;
}

static int
tp_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_proxy(self)->target);
    Py_VISIT(as_proxy(self)->factory);
    Py_VISIT(as_proxy(self)->recorded);
    Py_VISIT(as_proxy(self)->hash);
    return 0;
}

static int
tp_clear(PyObject *self)
{
    Py_CLEAR(as_proxy(self)->target);
    Py_CLEAR(as_proxy(self)->factory);
    Py_CLEAR(as_proxy(self)->recorded);
    Py_CLEAR(as_proxy(self)->hash);
    return 0;
}

/* A proxy may be the factory of a proxy, and so on for a million: each would die inside the
 * death of the one before, on the C stack. From some depth on, the dying wait in a list,
 * linked by `weakrefs`, for the outermost to come back to them. */
#define DEEPEST_DEATH 50
static _Thread_local int depth_of_death;
static _Thread_local Proxy *waiting;

static void
bury(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    depth_of_death++;
    tp_clear(self);
    depth_of_death--;
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static void
tp_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    if (as_proxy(self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    if (depth_of_death >= DEEPEST_DEATH) {
        as_proxy(self)->weakrefs = (PyObject *)waiting;
        waiting = as_proxy(self);
        return;
    }
    bury(self);
    while (depth_of_death == 0 && waiting != NULL) {
        Proxy *next = waiting;
        waiting = (Proxy *)next->weakrefs;
        next->weakrefs = NULL;
        bury((PyObject *)next);
    }
}

/* ---- The types ------------------------------------------------------------------------- */

PyDoc_STRVAR(documentation,
"Proxy(factory, *, cache_defaults=False, target=None)\n"
"--\n"
"\n"
"Stands for the object that ``factory`` produces, which it calls at the first use.\n"
"\n"
"Every use resolves it, and from then on it behaves as its target, except: `repr`,\n"
"`type`, `dir`, ``isinstance(p, Proxy)``, pickling and copying, `sys.getsizeof`, weak\n"
"references, the names in `PROBE_NAMES`, and questions about a recorded class.\n"
"The factory runs once however many threads use the proxy. A pickle holds the factory,\n"
"never the target.");

#define LIST(slot, operation) {Py_##slot, (void *)slot},
#define SLOT(slot) {Py_##slot, (void *)slot}

/* An object can change from one of the types to another only if all have these. */
#define LIFE SLOT(tp_new), SLOT(tp_init), SLOT(tp_dealloc), SLOT(tp_traverse), SLOT(tp_clear)

static PyType_Slot slots_of_proxy[] = {
    {Py_tp_doc, (void *)documentation}, LIFE,
    {Py_tp_getset, properties}, {Py_tp_members, members}, {Py_tp_methods, methods},
    SLOT(tp_getattro), SLOT(tp_setattro), SLOT(tp_hash), SLOT(tp_richcompare),
    UNARY(LIST) BINARY(LIST) INPLACE(LIST)
    SLOT(nb_remainder), SLOT(nb_power), SLOT(nb_inplace_power), SLOT(nb_bool),
    SLOT(mp_length), SLOT(mp_subscript), SLOT(mp_ass_subscript),
    {Py_sq_length, (void *)mp_length}, SLOT(sq_item), SLOT(sq_ass_item), SLOT(sq_contains),
    {0, NULL},
};

/* What a type has whose targets may be anything. */
static PyType_Slot slots_of_object[] = {
    LIFE, SLOT(tp_call), SLOT(tp_iternext), SLOT(nb_index), SLOT(bf_getbuffer), {0, NULL},
};

/* A sequence may have a buffer. Mappings and paths have none, or os.path took it for bytes. */
static PyType_Slot slots_of_sequence[] = {LIFE, SLOT(bf_getbuffer), {0, NULL}};
static PyType_Slot slots_of_others[] = {LIFE, {0, NULL}};

#define SPECIFY(type_name, type_slots)                                                    \
    {                                                                                     \
        .name = "proxystore.proxy." type_name,                                            \
        .basicsize = sizeof(Proxy),                                                       \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,           \
        .slots = type_slots,                                                              \
    }

static PyType_Spec specification_of_proxy = SPECIFY("Proxy", slots_of_proxy);

static PyType_Spec specifications[N_VARIANTS] = {
    SPECIFY("ObjectProxy", slots_of_object),
    SPECIFY("SequenceProxy", slots_of_sequence),
    SPECIFY("MappingProxy", slots_of_others),
    SPECIFY("PathLikeProxy", slots_of_others),
    SPECIFY("ArrayProxy", slots_of_object),
};

/* ---- The module ------------------------------------------------------------------------ */

/* Python refuses some kinds by itself, and _chosen.py completes the message. */
static int
refuse_subinterpreter(void)
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0)
        return 0;
    PyErr_SetString(PyExc_ImportError, "it works in no subinterpreter");
    return -1;
}

static int
intern_names(void)
{
    class_name = PyUnicode_InternFromString("__class__");
    target_name = PyUnicode_InternFromString("target");
    cache_defaults_name = PyUnicode_InternFromString("cache_defaults");
    return class_name && target_name && cache_defaults_name ? 0 : -1;
}

static int
import_answers(void)
{
    PyObject *module = PyImport_ImportModule("proxystore.proxy._answers");
    if (module == NULL)
        return -1;
    struct { PyObject **place; const char *name; } wanted[] = {
        {&answers.own_names, "OWN_NAMES"},
        {&answers.resolve_once, "resolve_once"},
        {&answers.factory_error, "factory_error"},
        {&answers.known_variants, "KNOWN"},
        {&answers.variant_of, "variant_of"},
        {&answers.unresolved_attribute, "unresolved_attribute"},
        {&answers.default_class, "default_class"},
        {&answers.unresolved_hash, "unresolved_hash"},
        {&answers.hash_or_error, "hash_or_error"},
        {&answers.index, "index"},
        {&answers.view, "view"},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted) && !failed; i++)
        failed = (*wanted[i].place = PyObject_GetAttrString(module, wanted[i].name)) == NULL;
    Py_DECREF(module);
    return failed ? -1 : 0;
}

static int
make_types(PyObject *module)
{
    PyObject *base = PyType_FromModuleAndSpec(module, &specification_of_proxy, NULL);
    int failed = base == NULL;
    proxy_type = (PyTypeObject *)base;
    for (int i = 0; i < N_VARIANTS && !failed; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specifications[i], base);
        failed = type == NULL;
        variants[i] = (PyTypeObject *)type;
    }
    return failed ? -1 : 0;
}

/* The methods that have no slot, or no hurry. */
static int
complete_in_python(void)
{
    PyObject *module = PyImport_ImportModule("proxystore.proxy._answers");
    if (module == NULL)
        return -1;
    PyObject *result = PyObject_CallMethod(module, "complete", "OOOOOO", proxy_type, variants[0],
                                           variants[1], variants[2], variants[3], variants[4]);
    Py_DECREF(module);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
drop_types(void)
{
    Py_CLEAR(proxy_type);
    for (int i = 0; i < N_VARIANTS; i++)
        Py_CLEAR(variants[i]);
}

static int
execute(PyObject *module)
{
    if (refuse_subinterpreter() < 0)
        return -1;
    /* A module that is imported again, because somebody removed it, has the same types. */
    if (proxy_type == NULL) {
        if (intern_names() < 0 || import_answers() < 0)
            return -1;
        if (make_types(module) < 0 || complete_in_python() < 0) {
            drop_types();
            return -1;
        }
    }
    return PyModule_AddType(module, proxy_type);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "proxystore.proxy._c",
    .m_doc = "The `Proxy` in C; see `proxystore.proxy`.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__c(void)
{
    return PyModuleDef_Init(&definition);
}
